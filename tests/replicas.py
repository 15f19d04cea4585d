"""Shards with replicas, routers before them, and load: for tests of what happens when servers die, stop and come back."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from persia_packets import CONFIG, MIX
from servers import EmbeddingServer, free_port, wait_until
from typing_extensions import Self

from persia import _core
from persia.config import load_embedding_config
from persia.errors import PersiaError
from persia.routing.lookup import Lookup, RouterOptions
from persia.routing.router import Router

GOLDEN_BATCH = MIX / "golden" / "batch16_0.bin"
WANT = np.load(GOLDEN_BATCH.with_suffix(".npz"))


def golden_batch() -> _core.Batch:
    return _core.decode_batch(GOLDEN_BATCH.read_bytes())


def assert_golden(lookup: Lookup) -> None:
    """Neither another request's rows nor zeros nor half of an answer."""
    assert lookup.missing_shards == []
    for i, tensor in enumerate(lookup.tensors):
        np.testing.assert_allclose(tensor.astype(np.float32), WANT[f"emb{i}"].astype(np.float32), rtol=2e-3, atol=1e-6)


class Replicas(ExitStack):
    """`count` shards of the golden checkpoint with `each` replicas, which keep their addresses when they start again."""

    def __init__(self, directory: Path, count: int = 2, each: int = 1) -> None:
        super().__init__()
        self.shards = [[self._start(directory / f"{k}", index, count) for k in range(each)] for index in range(count)]
        for server in self.all:
            server.wait_ready()

    def _start(self, directory: Path, index: int, count: int) -> EmbeddingServer:
        port = ("--port", str(free_port()))
        return self.enter_context(
            EmbeddingServer(directory, CONFIG, checkpoint=MIX / "ckpt", index=index, count=count, arguments=port)
        )

    @property
    def all(self) -> list[EmbeddingServer]:
        return [server for replicas in self.shards for server in replicas]

    @property
    def addresses(self) -> list[list[str]]:
        return [[server.address for server in replicas] for replicas in self.shards]


@contextlib.contextmanager
def router_of(addresses: list[list[str]], **options: Any) -> Iterator[Router]:
    """A router that knows all its shards."""
    router = Router(load_embedding_config(CONFIG), addresses, RouterOptions(**options))
    try:
        wait_until(lambda: all(replica.usable for shard in router.shards for replica in shard.replicas), "all can be used")
        yield router
    finally:
        router.close()


@contextlib.contextmanager
def stopped(*servers: EmbeddingServer) -> Iterator[None]:
    """They neither answer nor close anything, as a machine that hangs."""
    for server in servers:
        server.process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: all(set(thread_states(server)) == {"T"} for server in servers), "they have stopped")
        yield
    finally:
        for server in servers:
            server.process.send_signal(signal.SIGCONT)


def thread_states(server: EmbeddingServer) -> list[str]:
    """A letter for each; a signal takes a while to reach them all."""
    stats = Path(f"/proc/{server.process.pid}/task").glob("*/stat")
    return [path.read_text().rpartition(")")[2].split()[0] for path in stats]


class Load:
    """Threads that look up one batch after the other, and check every answer."""

    def __init__(self, router: Router, threads: int = 4) -> None:
        self.router = router
        self.answered = 0
        self.failed: list[Exception] = []
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        batch = golden_batch()
        while not self._done.is_set():
            try:
                assert_golden(self.router.lookup(batch))
            except (PersiaError, AssertionError) as error:
                self.failed.append(error)
            else:
                with self._lock:
                    self.answered += 1

    def wait_for_more(self, count: int = 50) -> None:
        """Until so many more are answered."""
        before = self.answered
        wait_until(lambda: self.answered >= before + count or self.failed, "lookups are answered")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
