"""A new checkpoint while lookups go on: each answer is of one epoch and of its checkpoint, and none is late or fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from persia import _core
from persia.checkpoint_id import checkpoint_name
from persia.routing.router import Router
from tests.support.epoch_deployments import EpochDeployment, routers_of
from tests.support.epoch_rows import BATCH, IDS, name_of
from tests.support.histories import Judge, Recorder, numbers_of
from tests.support.servers import wait_until


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EpochDeployment]:
    """One for all tests, of which each begins where the one before has left off."""
    with ExitStack() as stack:
        yield EpochDeployment(tmp_path_factory.mktemp("deployment"), stack)


@pytest.fixture
def router(deployment: EpochDeployment) -> Iterator[Router]:
    with routers_of(deployment, 1) as routers:
        yield routers[0]


def take_over(deployment: EpochDeployment, name: str) -> int:
    """Returns the epoch."""
    directory = deployment.trainer.dump(deployment.packets.parent / name, shards=2)
    assert f"in {directory}" in deployment.run("checkpoint", str(directory))
    return deployment.newest()


def expect_clean(deployment: EpochDeployment, recorder: Recorder) -> None:
    judge = Judge(deployment.oracle())
    judge.take(recorder.take())
    assert recorder.failures == []
    assert not judge.verdict.wrong and len(judge.verdict.epochs) > 1, [str(judge.verdict), *judge.verdict.examples]


def test_no_answer_is_mixed_and_none_fails_while_checkpoints_come(deployment: EpochDeployment, router: Router) -> None:
    recorder = Recorder([router], threads_each=2)
    try:
        for number in range(3):
            deployment.trainer.leave(np.arange(IDS // 2))
            epoch = take_over(deployment, f"daily_{number}")
            last = deployment.trainer.leave(np.arange(number, IDS, 7))
            # Whoever goes back is refused if a server commits at the same moment.
            wait_until(lambda: deployment.oracle().history.is_named(name_of(last)), "the packet is committed")  # noqa: B023
            deployment.wait_for_epoch(epoch)
            recorder.wait_for_epoch(epoch)
        before = deployment.newest()
        deployment.run("revert", "--to", str(epoch - 1))  # the checkpoint before it, in memory or from its files
        recorder.wait_for_epoch(before + 1)
    finally:
        recorder.stop()
    expect_clean(deployment, recorder)
    assert len({base.id for _epoch, base in deployment.oracle().history.bases if base}) == 3


def test_an_answer_says_the_checkpoint_of_its_epoch(deployment: EpochDeployment, router: Router) -> None:
    epoch = take_over(deployment, "named")
    lookup = router.lookup(_core.decode_batch(BATCH), 60.0, None, epoch)
    base = deployment.oracle().history.base_at(lookup.epoch)
    assert base is not None and checkpoint_name(lookup.checkpoint_id) == base.id
    for server in deployment.servers:  # a replica may still be at it when the other one of its shard answers
        wait_until(lambda: server.status().checkpoint_id == base.identity, "it has taken the checkpoint over")  # noqa: B023
        assert server.status().checkpoint == base.checkpoint
        assert server.status().checkpoint_by_epochs


def test_a_server_that_is_killed_while_it_takes_one_over_comes_back_with_it(
    deployment: EpochDeployment, router: Router
) -> None:
    """It loads the checkpoint of the newest record, whatever its config names, and the other servers need not know."""
    for number, killed in enumerate(deployment.servers):
        epoch = take_over(deployment, f"killed_{number}")
        killed.kill()
        deployment.trainer.leave(np.arange(10 * number, IDS))
        killed.start()
        killed.wait_ready()
        deployment.wait_for_epoch(epoch)
        lookup = router.lookup(_core.decode_batch(BATCH), 60.0, None, epoch)
        assert numbers_of(lookup) == deployment.oracle().answer(lookup.epoch)


def test_a_router_that_starts_finds_servers_that_were_set_up_with_another_checkpoint(deployment: EpochDeployment) -> None:
    first = deployment.servers[0]
    take_over(deployment, "another")
    first.kill()
    first.start()
    first.wait_ready()
    with routers_of(deployment, 1) as routers:
        lookup = routers[0].lookup(_core.decode_batch(BATCH), 60.0)
        assert numbers_of(lookup) == deployment.oracle().answer(lookup.epoch)
