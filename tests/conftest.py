"""Hypothesis without deadlines; where CI is set, with the same examples in every run. One TorchServe for many tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from torchserves import TorchServeRun, make_archive

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


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
    arguments = ["--models", ",".join(models), "--max-message-mib", "1"]
    with TorchServeRun(tmp_path_factory.mktemp("torchserve"), store, arguments) as run:
        yield run.wait_ready()
