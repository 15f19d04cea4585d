"""A dense model and the rows that were trained with it are switched together: no answer has the one without the other."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from persia.dense_version import DenseVersion
from persia.routing.forwarded import MiddlewareClient
from persia.routing.lookup import Lookups
from persia.routing.router import Router
from persia.writers import EpochCommitter
from tests.support.dense_pairs import MODEL, OpenLookups, Serving, judge_pairs, wait_for_answer
from tests.support.epoch_deployments import PATIENT, EpochDeployment
from tests.support.epoch_rows import CONFIG
from tests.support.middlewares import Middleware
from tests.support.servers import wait_until

pytestmark = pytest.mark.whole_way

SWAPS = 6
EARLIER = 2  # epochs that servers keep without being asked


class Deployment(EpochDeployment):
    """Two shards, and a trainer that commits."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        super().__init__(directory, stack, replicas=(1, 1), settings={"retained_epochs": EARLIER})
        self.committer = EpochCommitter(self.packets)

    def commit(self, version: str | None = None) -> int:
        """A packet of all rows; with a version, that of a new dense model."""
        return self.committer.commit([self.trainer.leave()], None if version is None else {MODEL: version})

    def direct(self, dense: DenseVersion) -> Lookups:
        return Router(CONFIG, self.addresses, replace(PATIENT, dense=dense))


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with ExitStack() as stack:
        yield Deployment(tmp_path, stack)


@pytest.fixture(params=["direct", "middleware"])
def opened(deployment: Deployment, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OpenLookups]:
    """How lookups for a dense version are begun."""
    if request.param == "direct":
        yield deployment.direct
        return
    with Middleware(tmp_path / "middleware", deployment.config, deployment.addresses) as middleware:
        middleware.wait_ready()
        yield lambda dense: MiddlewareClient([middleware.address], replace(PATIENT, dense=dense))


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


def test_swaps_of_dense_and_sparse_together(deployment: Deployment, opened: OpenLookups) -> None:
    deployment.wait_for_epoch(deployment.commit("0"))
    serving = Serving(opened, "0")
    serving.start()
    try:
        swap_again_and_again(deployment, serving)
    finally:
        serving.stop()
    expect_pairs_that_belong_together(deployment, serving, SWAPS + 1)


def test_a_return_brings_the_dense_version_of_its_epoch_with_it(deployment: Deployment) -> None:
    before = deployment.commit("7.0")
    deployment.commit("8.0")
    deployment.wait_for_epoch(deployment.commit())
    serving = Serving(deployment.direct, "8.0")
    serving.start()
    try:
        serving.wait_for("8.0", before + 2)
        deployment.run("revert", "--to", str(before))
        returned = deployment.committer.refresh()
        with serving.swap("7.0"):
            serving.wait_for("7.0", returned)
    finally:
        serving.stop()
    expect_pairs_that_belong_together(deployment, serving, 2)


def while_packets_come(deployment: Deployment, seconds: float, until: int) -> None:
    """For so long at least, and until that epoch."""
    end, epoch = time.monotonic() + seconds, 0
    while time.monotonic() < end or epoch < until:
        epoch = deployment.commit()
        deployment.wait_for_epoch(epoch)


def test_an_old_version_that_nobody_asks_keeps_its_epoch(deployment: Deployment, opened: OpenLookups) -> None:
    """A server gives other epochs up some seconds after they were asked for."""
    epoch = deployment.commit("7.0")
    deployment.wait_for_epoch(epoch)
    old = opened(DenseVersion(MODEL, "7.0"))
    try:
        assert wait_for_answer(old) == epoch
        deployment.commit("8.0")
        while_packets_come(deployment, 5.0, until=epoch + EARLIER + 3)
        assert wait_for_answer(old) == epoch
    finally:
        old.close()
