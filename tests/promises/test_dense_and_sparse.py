"""A dense model and the rows that were trained with it are switched together: no answer has the one without the other."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from persia.dense_version import DenseVersion
from persia.embedding_server.tools.epochs import epochs as epochs_command
from persia.routing.forwarded import MiddlewareClient
from persia.routing.lookup import Lookups, RouterOptions
from persia.routing.router import Router
from persia.writers import EpochCommitter, write_checkpoint
from tests.support.dense_pairs import MODEL, OpenLookups, Serving, judge_pairs, wait_for_answer
from tests.support.histories import CHECKPOINT_VALUE, CONFIG, CONFIG_TEXT, DIM, IDS, SIGNS, Oracle, write_packet
from tests.support.middlewares import Middleware
from tests.support.servers import EmbeddingServer, wait_until

SWAPS = 6
EARLIER = 2  # epochs that servers keep without being asked


class Deployment(ExitStack):
    """Two shards, and a trainer that commits."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.packets, self.config = directory / "packets", directory / "embedding_config.yml"
        self.packets.mkdir()
        self.config.write_text(CONFIG_TEXT)
        checkpoint = directory / "checkpoint"
        write_checkpoint(checkpoint, [(SIGNS, np.full((IDS, DIM), CHECKPOINT_VALUE, np.float32))], shards=2)
        self.committer = EpochCommitter(self.packets)
        self.servers = [
            self.enter_context(
                EmbeddingServer(
                    directory / str(index),
                    self.config,
                    checkpoint=checkpoint,
                    incremental_dir=self.packets,
                    index=index,
                    count=2,
                    settings={"enable_epochs": True, "retained_epochs": EARLIER},
                )
            ).wait_ready()
            for index in range(2)
        ]
        self._written: dict[str, tuple[int, np.ndarray]] = {}

    @property
    def addresses(self) -> list[list[str]]:
        return [[server.address] for server in self.servers]

    def commit(self, version: str | None = None) -> int:
        """A packet of all rows; with a version, that of a new dense model."""
        second = len(self._written) + 1
        self._written[f"s0/inc_2026{second:010d}"] = second, np.arange(IDS)
        packet = write_packet(self.packets, second, np.arange(IDS))
        return self.committer.commit([packet], None if version is None else {MODEL: version})

    def wait_for_epoch(self, epoch: int) -> None:
        wait_until(lambda: all(server.status().epoch >= epoch for server in self.servers), f"epoch {epoch} is built")

    def oracle(self) -> Oracle:
        return Oracle(self.packets, self._written)

    def direct(self, dense: DenseVersion) -> Lookups:
        return Router(CONFIG, self.addresses, RouterOptions(dense=dense))


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with Deployment(tmp_path) as deployment:
        yield deployment


def expect_pairs_that_belong_together(deployment: Deployment, serving: Serving, versions: int) -> None:
    judgement = judge_pairs(serving.pairs, deployment.packets, deployment.oracle())
    assert serving.failures == []
    assert (judgement.mismatched, judgement.misread) == (0, 0) and judgement.versions == versions, judgement


def swap_again_and_again(deployment: Deployment, serving: Serving) -> None:
    """With packets before, within and after each swap, and a shard that stands still meanwhile in every second one."""
    for number in range(1, SWAPS + 1):
        old, new = str(number - 1), str(number)
        serving.wait_for(old, deployment.commit())
        frozen = deployment.servers[number // 2 % 2] if number % 2 else None
        if frozen is not None:
            frozen.process.send_signal(signal.SIGSTOP)
        epoch = deployment.commit(new)
        deployment.commit()
        if frozen is not None:
            other = deployment.servers[1 - number // 2 % 2]
            wait_until(lambda: other.status().epoch > epoch, "the other shard is ahead")  # noqa: B023
            frozen.process.send_signal(signal.SIGCONT)
        with serving.swap(new):
            serving.wait_for(new, epoch)
        serving.wait_for(new, deployment.commit())


@pytest.mark.parametrize("through_a_middleware", [False, True], ids=["direct", "middleware"])
def test_swaps_of_dense_and_sparse_together(deployment: Deployment, tmp_path: Path, through_a_middleware: bool) -> None:
    with ExitStack() as stack:
        opened: OpenLookups = deployment.direct
        if through_a_middleware:
            middleware = stack.enter_context(Middleware(tmp_path / "middleware", deployment.config, deployment.addresses))
            middleware.wait_ready()
            opened = lambda dense: MiddlewareClient([middleware.address], RouterOptions(dense=dense))  # noqa: E731
        deployment.wait_for_epoch(deployment.commit("0"))
        serving = Serving(opened, "0")
        serving.start()
        stack.callback(serving.stop)
        swap_again_and_again(deployment, serving)
    expect_pairs_that_belong_together(deployment, serving, SWAPS + 1)


def test_a_return_brings_the_dense_version_of_its_epoch_with_it(deployment: Deployment) -> None:
    before = deployment.commit("7.0")
    deployment.commit("8.0")
    deployment.wait_for_epoch(deployment.commit())
    serving = Serving(deployment.direct, "8.0")
    serving.start()
    try:
        serving.wait_for("8.0", before + 2)
        assert CliRunner().invoke(epochs_command, ["revert", str(deployment.packets), "--to", str(before)]).exit_code == 0
        returned = deployment.committer.refresh()
        with serving.swap("7.0"):
            serving.wait_for("7.0", returned)
    finally:
        serving.stop()
    expect_pairs_that_belong_together(deployment, serving, 2)


def while_packets_come(deployment: Deployment, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        deployment.wait_for_epoch(deployment.commit())


@pytest.mark.parametrize("through_a_middleware", [False, True], ids=["direct", "middleware"])
def test_an_old_version_that_nobody_asks_keeps_its_epoch(
    deployment: Deployment, tmp_path: Path, through_a_middleware: bool
) -> None:
    """A server gives other epochs up some seconds after they were asked for."""
    with ExitStack() as stack:
        opened: Callable[[DenseVersion], Lookups] = deployment.direct
        if through_a_middleware:
            middleware = stack.enter_context(Middleware(tmp_path / "middleware", deployment.config, deployment.addresses))
            middleware.wait_ready()
            opened = lambda dense: MiddlewareClient([middleware.address], RouterOptions(dense=dense))  # noqa: E731
        epoch = deployment.commit("7.0")
        deployment.wait_for_epoch(epoch)
        old = opened(DenseVersion(MODEL, "7.0"))
        stack.callback(old.close)
        assert wait_for_answer(old) == epoch
        deployment.commit("8.0")
        while_packets_come(deployment, 5.0)
        assert deployment.servers[0].status().epoch > epoch + EARLIER + 1
        assert wait_for_answer(old) == epoch
