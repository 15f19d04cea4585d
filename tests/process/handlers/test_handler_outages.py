"""What dies behind our handler, or with it: calls fail with the right code or not at all, and service returns by itself."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from persia.errors import Unavailable
from tests.support.load import Load
from tests.support.middlewares import Deployment
from tests.support.servers import wait_until
from tests.support.torchserves import MIX, PERSIA_HANDLER, TorchServeRun, assert_close, make_archive, scores_of_golden

pytestmark = pytest.mark.whole_way

BATCH = (MIX / "golden" / "batch16_0.bin").read_bytes()
SCORES = scores_of_golden()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("deployment"), MIX, 2, ports=True, arguments=["--metrics-port", "0"]) as deployment:
        deployment.middleware.wait_ready()
        yield deployment


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, deployment: Deployment) -> Iterator[TorchServeRun]:
    """Of `direct` the handler asks the shards, as it does by itself; of `through` the middleware does."""
    directory = tmp_path_factory.mktemp("served")
    config = directory / "global_config.yml"
    config.write_text(yaml.safe_dump({"embedding_worker_config": {"clients_ask_shards": False}}))
    store, settings = directory / "store", {"addresses": [deployment.middleware.address]}
    models = [
        make_archive(store, "direct", handler=PERSIA_HANDLER, persia=settings),
        make_archive(store, "through", handler=PERSIA_HANDLER, persia={**settings, "global_config": str(config)}),
    ]
    with TorchServeRun(directory, store, ["--models", ",".join(models)]) as run:
        yield run.wait_ready()


class Scoring(Load[np.ndarray]):
    """Callers of a model that has answered already. Each has thirty seconds, which TorchServe's own client keeps to.

    One whose time were over would fail with DeadlineExceeded; so a test that finds Unavailable alone has seen that all came
    back before.
    """

    def __init__(self, run: TorchServeRun, model: str) -> None:
        self.client = run.client(model)
        assert_close(self.client.predict(BATCH), SCORES)
        super().__init__(lambda: self.client.predict(BATCH, timeout=30), pause=0.01)

    def wait_for_failure(self) -> None:
        wait_until(lambda: self.failures, "a call fails")

    def wait_for_return(self) -> None:
        """Until all callers are answered again."""
        before = len(self.answers)
        wait_until(lambda: len(self.answers) >= before + 50, "scores come again")

    def kinds_of_failure(self) -> set[type[BaseException]]:
        self.client.close()
        for scores in self.answers:
            assert_close(scores, SCORES)
        return {type(failure) for failure in self.failures}


@pytest.mark.parametrize("model", ["direct", "through"])
def test_a_shard_that_dies(served: TorchServeRun, deployment: Deployment, model: str) -> None:
    workers = served.workers()
    shard = deployment.shards[0]
    with Scoring(served, model) as load:
        load.wait_for_more()
        shard.kill()
        load.wait_for_failure()
        shard.start()
        load.wait_for_return()
    assert load.kinds_of_failure() == {Unavailable}
    assert shard.address in str(load.failures[0])
    assert served.workers() == workers


def test_a_middleware_that_dies_is_not_missed_by_who_knows_the_shards(served: TorchServeRun, deployment: Deployment) -> None:
    with Scoring(served, "direct") as load:

        def shards_are_asked() -> bool:
            """A while after they are there: until the middleware has told of them."""
            before = deployment.middleware.lookups()
            load.wait_for_more()
            return deployment.middleware.lookups() == before

        wait_until(shards_are_asked, "lookups go past the middleware")
        deployment.middleware.kill()
        load.wait_for_more(500)
        deployment.middleware.start()
        deployment.middleware.wait_ready()
        load.wait_for_more()
    assert load.kinds_of_failure() == set(), load.failures[0]


def test_a_middleware_that_dies_and_is_asked(served: TorchServeRun, deployment: Deployment) -> None:
    workers = served.workers()
    with Scoring(served, "through") as load:
        load.wait_for_more()
        deployment.middleware.kill()
        load.wait_for_failure()
        deployment.middleware.start()
        load.wait_for_return()
    assert load.kinds_of_failure() == {Unavailable}
    assert deployment.middleware.address in str(load.failures[0])
    assert served.workers() == workers


def test_a_worker_that_dies(served: TorchServeRun) -> None:
    before = served.workers()
    with Scoring(served, "direct") as load:
        load.wait_for_more()
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        load.wait_for_failure()
        load.wait_for_return()
    assert load.kinds_of_failure() == {Unavailable}
    wait_until(lambda: len(served.workers()) == len(before), "other workers are there")
    assert not set(before) & set(served.workers())


def test_a_worker_starts_without_embeddings_and_serves_when_they_come(tmp_path: Path) -> None:
    """Else TorchServe would kill it again and again, and give it up at last."""
    store = tmp_path / "store"
    pth = tmp_path / "dense.pth"  # as in Persia's guide
    shutil.copy(MIX / "ckpt" / "jit_dense.pt", pth)
    sample = tmp_path / "sample.bin"
    sample.write_bytes(BATCH)
    with Deployment(tmp_path / "deployment", MIX, 1, ports=True) as deployment:
        address = deployment.middleware.address
        deployment.middleware.kill()
        settings = {"addresses": [address], "warm_up": "sample.bin", "timeout_ms": 1000}
        model = make_archive(store, "persia", handler=PERSIA_HANDLER, model=pth, extra=[sample], persia=settings)
        with TorchServeRun(tmp_path / "served", store, ["--models", model]) as run, run.wait_ready().client("persia") as client:
            with pytest.raises(Unavailable, match=re.escape(address)):
                client.predict(BATCH)
            assert "not warmed up" in (run.logs / "model_log.log").read_text()
            deployment.middleware.start()
            deployment.middleware.wait_ready()
            assert_close(client.predict(BATCH), SCORES)
