"""With epochs no answer has rows of two: real servers, routers that ask without pause, packets, returns, kills, stops."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from persia import _core
from persia.embedding_server.tools.epochs import epochs as epochs_command
from persia.errors import DeadlineExceeded, Overloaded, Unavailable
from persia.routing.forwarded import MiddlewareClient
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from persia.writers import write_checkpoint
from tests.support.histories import (
    BATCH,
    CHECKPOINT_VALUE,
    CONFIG,
    CONFIG_TEXT,
    DIM,
    IDS,
    SIGNS,
    Answer,
    Oracle,
    Recorder,
    Verdict,
    judge,
    value_of,
    write_packet,
)
from tests.support.middlewares import Middleware
from tests.support.servers import EmbeddingServer, free_port, wait_until

PACKETS = 12


class Deployment:
    """Two shards, of which the second has two replicas; they keep their ports."""

    def __init__(self, directory: Path, stack: ExitStack, enable_epochs: bool = True) -> None:
        self.packets = directory / "packets"
        self.packets.mkdir()
        self.config = directory / "embedding_config.yml"
        self.config.write_text(CONFIG_TEXT)
        checkpoint = directory / "checkpoint"
        write_checkpoint(checkpoint, [(SIGNS, np.full((IDS, DIM), CHECKPOINT_VALUE, np.float32))], shards=2)
        self.servers = [
            stack.enter_context(
                EmbeddingServer(
                    directory / f"{index}-{replica}",
                    self.config,
                    checkpoint=checkpoint,
                    incremental_dir=self.packets,
                    index=index,
                    count=2,
                    settings={"enable_epochs": enable_epochs},
                    arguments=["--port", str(free_port())],
                )
            )
            for index, replica in ((0, 0), (1, 0), (1, 1))
        ]
        for server in self.servers:
            server.wait_ready()
        self.written: dict[str, tuple[int, np.ndarray]] = {}
        self._random = np.random.default_rng(1)

    @property
    def addresses(self) -> list[list[str]]:
        return [[self.servers[0].address], [server.address for server in self.servers[1:]]]

    def write(self) -> bytes:
        """A packet of all rows, or of some; returns what all rows are with it, if it is of all."""
        second = len(self.written) + 1
        places = np.arange(IDS) if second % 2 else self._random.choice(IDS, 30, replace=False)
        self.written[f"s0/inc_2026{second:010d}"] = second, places
        write_packet(self.packets, second, places)
        return np.full(IDS, value_of(second), np.float16).tobytes()

    def wait_for_epoch(self, epoch: int, *servers: EmbeddingServer) -> None:
        wait_until(lambda: all(one.status().epoch >= epoch for one in servers or self.servers), f"epoch {epoch} is built")

    def newest(self) -> int:
        return max(server.status().newest_epoch for server in self.servers)

    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(epochs_command, [arguments[0], str(self.packets), *arguments[1:]])
        assert result.exit_code == 0, result.output
        return result.output

    def judge(self, answers: list[Answer]) -> Verdict:
        return judge(answers, Oracle(self.packets, self.written), self.newest())


@contextmanager
def routers_of(deployment: Deployment, count: int) -> Iterator[list[Router]]:
    routers = [Router(CONFIG, deployment.addresses, RouterOptions()) for _ in range(count)]
    try:
        for router in routers:
            wait_until(lambda: not router.missing(), "all can be used")  # noqa: B023
        yield routers
    finally:
        for router in routers:
            router.close()


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with ExitStack() as stack:
        yield Deployment(tmp_path, stack)


def expect_clean(verdict: Verdict) -> None:
    wrong = (verdict.unversioned, verdict.mixed, verdict.misnamed, verdict.fallen)
    assert wrong == (0, 0, 0, 0) and verdict.answers > 0 and verdict.epochs > 1, verdict


def test_packets_returns_and_lagging_servers(deployment: Deployment) -> None:
    with routers_of(deployment, 2) as routers:
        recorder = Recorder(list(routers), threads_each=2)
        try:
            for number in range(PACKETS):
                frozen = deployment.servers[number % 3] if number % 4 == 1 else None
                if frozen is not None:
                    frozen.process.send_signal(signal.SIGSTOP)
                rows = deployment.write()
                others = [server for server in deployment.servers if server is not frozen]
                deployment.wait_for_epoch(number + 2, *others)
                if frozen is not None:
                    frozen.process.send_signal(signal.SIGCONT)
                if number % 2 == 0:
                    recorder.wait_for(lambda answer: answer.rows == rows)  # noqa: B023
            before = deployment.newest()
            assert f"returns to epoch {before - 3}" in deployment.run("revert", "--to", str(before - 3), "--why", "a test")
            returned = recorder.wait_for(lambda answer: answer.epoch == before + 1)
            oracle = Oracle(deployment.packets, deployment.written)
            assert returned.rows == oracle.rows(before - 3) != oracle.rows(before)
            assert " returns to epoch" in deployment.run("log")
        finally:
            recorder.stop()
    assert recorder.failures == []
    expect_clean(deployment.judge(recorder.answers))


def test_servers_that_are_killed_and_come_back(deployment: Deployment) -> None:
    """No epoch falls, and nothing is mixed. Only while the one server of a shard is away can lookups fail."""
    with routers_of(deployment, 1) as routers:
        recorder = Recorder(list(routers), threads_each=2)
        try:
            for number in range(6):
                deployment.write()
                killed = deployment.servers[number % 3]
                killed.kill()
                deployment.write()
                killed.start()
                killed.wait_ready()
                newest = deployment.newest()
                recorder.wait_for(lambda answer: answer.epoch >= newest)  # noqa: B023
        finally:
            recorder.stop()
    assert {type(error) for _, error in recorder.failures} <= {Unavailable, DeadlineExceeded, Overloaded}
    expect_clean(deployment.judge(recorder.answers))


def test_a_middleware_and_who_has_to_read_what_was_written(deployment: Deployment, tmp_path: Path) -> None:
    with Middleware(tmp_path / "middleware", deployment.config, deployment.addresses) as middleware:
        middleware.wait_ready()
        client = MiddlewareClient([middleware.address], RouterOptions())
        try:
            batch = _core.decode_batch(BATCH)
            for _ in range(5):
                wanted = deployment.newest() + 1
                rows = deployment.write()
                wait_until(lambda: deployment.newest() >= wanted, "it is committed")  # noqa: B023
                lookup = client.lookup(batch, 60.0, None, wanted)
                assert lookup.epoch >= wanted
                if len(deployment.written) % 2:
                    assert lookup.tensors[0][:, 0].tobytes() == rows
        finally:
            client.close()


def test_without_epochs_the_checker_finds_mixed_answers(tmp_path: Path) -> None:
    """It is worth what it finds: today's way mixes packets, and the checker says so."""
    with ExitStack() as stack:
        deployment = Deployment(tmp_path, stack, enable_epochs=False)
        with routers_of(deployment, 2) as routers:
            recorder = Recorder(list(routers), threads_each=2)
            try:

                def mixed() -> bool:
                    deployment.write()
                    applied = len(deployment.written)
                    wait_until(lambda: all(one.status().packets_applied >= applied for one in deployment.servers), "applied")
                    return any(len(set(np.frombuffer(one.rows, np.float16))) > 2 for one in recorder.answers)

                wait_until(mixed, "an answer is mixed")
            finally:
                recorder.stop()
    assert {answer.epoch for answer in recorder.answers} == {0}
