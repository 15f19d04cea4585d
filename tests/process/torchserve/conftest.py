"""The two TorchServes that all tests of this folder share. The folder runs in one process, so there are no more of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.torchserves import MIX, TorchServeRun, make_archive


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model store of the TorchServe that tests share."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def torchserve(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[TorchServeRun]:
    """Serves probe, golden and shapes with one worker each, and takes messages of up to 1 MiB. Tests leave these three as they
    are, and register others for themselves.
    """
    models = [make_archive(store, "probe"), make_archive(store, "golden", handler="golden_scores")]
    models.append(make_archive(store, "shapes", handler="shapes"))
    directory = tmp_path_factory.mktemp("torchserve")
    arguments = ["--models", ",".join(models), "--max-message-mib", "1", "--state", str(directory / "s")]
    with TorchServeRun(directory, store, arguments) as run:
        yield run.wait_ready()


@pytest.fixture(scope="session")
def open_torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeRun]:
    """A second TorchServe: without tokens, where no Java is installed, and with what users may have in their environment.

    Its JVM has no other options than those of the launcher.
    """
    directory = tmp_path_factory.mktemp("open")
    make_archive(directory / "store", "golden", handler="golden_scores")
    make_archive(directory / "store", "probe")
    hidden = {"PATH": "/nowhere", "TS_CONFIG_FILE": "/nowhere/config.properties", "TS_MODEL_STORE": "/nowhere"}
    environment = {key: value for key, value in os.environ.items() if key not in ("JAVA_HOME", "JDK_JAVA_OPTIONS")} | hidden
    smoke = MIX / "golden" / "batch16_0.bin"
    arguments = ["--models", "all", "--no-tokens", "--http-port", "0", "--smoke", str(smoke)]
    arguments += ["--state", str(directory / "s")]
    with TorchServeRun(directory, directory / "store", arguments, environment) as run:
        yield run.wait_ready()
