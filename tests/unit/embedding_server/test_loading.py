"""A checkpoint of a store is loaded while its next files come, and never more of them than was said."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from persia import _core
from persia.embedding_server.loading import load_checkpoint
from persia.formats.checkpoint import open_checkpoint_at
from persia.storage import Requests, place_of
from persia.writers import write_checkpoint
from tests.support.servers import wait_until
from tests.support.written import block

pytest.importorskip("obstore")

SIGNS = np.arange(1, 500, dtype=np.uint64)
WORKERS = 2


class Watched(_core.TableBuilder):
    """Takes no file before as many more have come, and counts how many it takes at a time."""

    def __init__(self, buffer: Path) -> None:
        super().__init__()
        self._buffer, self._lock = buffer, threading.Lock()
        self._all_came = threading.Event()
        self.now = self.most = self.most_files = 0

    def load_emb(self, path: Path, *arguments: object) -> int:  # type: ignore[override]
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        # All wait until one has seen it: those that go on remove their files.
        wait_until(lambda: self._all_came.is_set() or self._all_are_here(), "the next files are at hand")
        self._all_came.set()
        with self._lock:
            self.most_files = max(self.most_files, self.files())
        kept: int = super().load_emb(path, *arguments)  # type: ignore[arg-type]
        with self._lock:
            self.now -= 1
        return kept

    def _all_are_here(self) -> bool:
        return self.now == WORKERS and self.files() == 2 * WORKERS

    def files(self) -> int:
        return sum(path.stat().st_size > 0 for path in self._buffer.glob("persia-fetched-*/fetched-*"))


def test_files_come_while_others_are_loaded(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "store", [block(SIGNS)], shards=1, files_per_shard=9)
    place, requests = place_of(f"file://{tmp_path}/store"), Requests()
    checkpoint = open_checkpoint_at(place, tmp_path / "buffer", requests, 0, 1)
    builder = Watched(tmp_path / "buffer")
    assert load_checkpoint(checkpoint, builder, 0, 1, WORKERS) == builder.rows == len(SIGNS)
    assert builder.most == WORKERS and builder.most_files == 2 * WORKERS
    assert builder.files() == 0
