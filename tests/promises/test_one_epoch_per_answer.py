"""With epochs no answer has rows of two: real servers, routers that ask without pause, packets, returns, kills, stops.

`make history` does all that at random, for as long as one likes (tests/support/history_loop.py).
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from persia import _core
from persia.errors import DeadlineExceeded, Overloaded, Unavailable
from persia.routing.forwarded import MiddlewareClient
from persia.routing.lookup import RouterOptions
from tests.support import history_loop
from tests.support.epoch_deployments import EpochDeployment, routers_of
from tests.support.epoch_rows import BATCH, IDS
from tests.support.histories import Judge, Recorder, numbers_of
from tests.support.middlewares import Middleware
from tests.support.servers import wait_until

pytestmark = pytest.mark.whole_way

PACKETS = 12


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[EpochDeployment]:
    with ExitStack() as stack:
        yield EpochDeployment(tmp_path, stack)


def expect_clean(deployment: EpochDeployment, recorder: Recorder) -> None:
    judge = Judge(deployment.oracle())
    judge.take(recorder.take())
    verdict = judge.verdict
    assert not verdict.wrong and verdict.answers > 0 and len(verdict.epochs) > 1, [str(verdict), *verdict.examples]


def leave(deployment: EpochDeployment, number: int) -> None:
    """A packet of all rows, or of some."""
    places = np.arange(IDS) if number % 2 else np.random.default_rng(number).choice(IDS, 30, replace=False)
    deployment.trainer.leave(places)


def test_packets_returns_and_lagging_servers(deployment: EpochDeployment) -> None:
    with routers_of(deployment, 2) as routers:
        recorder = Recorder(routers, threads_each=2)
        try:
            for number in range(PACKETS):
                frozen = deployment.servers[number % 3] if number % 4 == 1 else None
                if frozen is not None:
                    frozen.process.send_signal(signal.SIGSTOP)
                leave(deployment, number)
                others = [server for server in deployment.servers if server is not frozen]
                deployment.wait_for_epoch(number + 2, *others)
                if frozen is not None:
                    frozen.process.send_signal(signal.SIGCONT)
                if number % 2 == 0:
                    recorder.wait_for_epoch(number + 2)
            before = deployment.newest()
            assert f"returns to epoch {before - 3}" in deployment.run("revert", "--to", str(before - 3), "--why", "a test")
            recorder.wait_for_epoch(before + 1)
            oracle = deployment.oracle()
            assert oracle.answer(before + 1) == oracle.answer(before - 3) != oracle.answer(before)
            assert " returns to epoch" in deployment.run("log")
        finally:
            recorder.stop()
    assert recorder.failures == []
    expect_clean(deployment, recorder)


def test_servers_that_are_killed_and_come_back(deployment: EpochDeployment) -> None:
    """No epoch falls, and nothing is mixed. Only while the one server of a shard is away can lookups fail."""
    with routers_of(deployment, 1) as routers:
        recorder = Recorder(routers, threads_each=2)
        try:
            for number in range(6):
                leave(deployment, 2 * number)
                killed = deployment.servers[number % 3]
                killed.kill()
                leave(deployment, 2 * number + 1)
                killed.start()
                killed.wait_ready()
                recorder.wait_for_epoch(deployment.newest())
        finally:
            recorder.stop()
    assert {type(failure.error) for failure in recorder.failures} <= {Unavailable, DeadlineExceeded, Overloaded}
    expect_clean(deployment, recorder)


def test_a_middleware_and_who_has_to_read_what_was_written(deployment: EpochDeployment, tmp_path: Path) -> None:
    with Middleware(tmp_path / "middleware", deployment.config, deployment.addresses) as middleware:
        middleware.wait_ready()
        client = MiddlewareClient([middleware.address], RouterOptions())
        try:
            batch, oracle = _core.decode_batch(BATCH), deployment.oracle()
            for number in range(5):
                wanted = deployment.newest() + 1
                leave(deployment, number)
                wait_until(lambda: deployment.newest() >= wanted, "it is committed")  # noqa: B023
                lookup = client.lookup(batch, 60.0, None, wanted)
                assert lookup.epoch >= wanted
                assert numbers_of(lookup) == oracle.answer(lookup.epoch)
        finally:
            client.close()


def test_faults_at_random(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, directory {tmp_path}")  # pytest shows it with a failure
    print(history_loop.run(tmp_path, 20_000, seed))


def test_without_epochs_the_checker_finds_mixed_answers(tmp_path: Path) -> None:
    """It is worth what it finds: today's way mixes packets, and the checker says so."""
    assert history_loop.mixed_without_epochs(tmp_path, 1) > 0
