"""Shards with replicas, routers before them, and load: for tests of what happens when servers die, stop and come back."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from persia import _core
from persia.config import load_embedding_config
from persia.routing.lookup import Lookup, RouterOptions
from persia.routing.router import Router
from tests.support.golden import arrays_of
from tests.support.load import Load
from tests.support.persia_packets import CONFIG, MIX
from tests.support.servers import EmbeddingServer, free_port, wait_until

GOLDEN_BATCH = MIX / "golden" / "batch16_0.bin"
WANT = arrays_of(GOLDEN_BATCH.with_suffix(".npz"))  # read once: Python 3.11 cannot read such headers in several threads


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


def load_of(router: Router, threads: int = 4) -> Load[None]:
    """Looks up one batch after the other, and checks every answer."""
    batch = golden_batch()
    return Load(lambda: assert_golden(router.lookup(batch)), threads)
