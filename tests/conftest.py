"""Hypothesis without deadlines; where CI is set, with the same examples in every run. Servers that many tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from middlewares import Deployment
from servers import PATIENCE
from torchserves import MIX, TorchServeRun, make_archive

from persia.ctx import InferCtx

if TYPE_CHECKING:
    from text_serving import Served  # imports transformers, which few runs of a single file need

# In the background of a shell, or under nohup, these are ignored, also by all that the tests start and then send one.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# A TorchServe of a test lives for seconds: compiling its code well, and threads to collect garbage, are half of its start.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

# Files whose few tests wait for a TorchServe, or train: they come first, so that no process is left with one at the end.
SLOW = (
    *("archive_transformers", "crash_loop", "custom_handler", "demo", "dense_models", "export", "from_pytorch"),
    *("golden_scores", "guide_client", "handler", "http_json", "infer_command", "infer_end_to_end", "mixed_checkpoints"),
    *("model_authors", "persia_handler", "requests_together", "stack", "swap", "text_archives", "torchserve", "transformers"),
    *("updates_under_load",),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.name.startswith(tuple(f"test_{name}" for name in SLOW)))


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two shards of golden/mix and a middleware with metrics. Tests ask them, and leave them as they are."""
    with Deployment(tmp_path_factory.mktemp("deployment"), MIX, 2, arguments=["--metrics-port", "0"]) as started:
        started.middleware.wait_ready()
        yield started


@pytest.fixture
def contexts(deployment: Deployment) -> Iterator[list[InferCtx]]:
    """Through the middleware, and routing by itself."""
    with (
        deployment.middleware.context() as forwarded,
        InferCtx(deployment.addresses, embedding_config=deployment.embedding_config) as direct,
    ):
        direct.wait_for_serving(PATIENCE)
        yield [forwarded, direct]


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


@pytest.fixture(scope="session")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The golden model that classifies texts, in this process, as the three after it. Tests leave them as they are."""
    return text_model(tmp_path_factory, "sequence_classification")


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return text_model(tmp_path_factory, "token_classification")


@pytest.fixture(scope="session")
def question(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return text_model(tmp_path_factory, "question_answering")


@pytest.fixture(scope="session")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return text_model(tmp_path_factory, "sequence_classification", mode="text_embedding", normalize="True")


def text_model(factory: pytest.TempPathFactory, golden: str, **settings: str) -> Served:
    from text_serving import Served, model_directory

    return Served(model_directory(factory.mktemp("text"), golden, settings=settings))
