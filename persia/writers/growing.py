"""A checkpoint that grows in a directory of its own, and comes to its place when it is whole.

Its rows need no room beside the files that they end in, and whoever writes it can stop and go on later.
"""

from __future__ import annotations

import os
from pathlib import Path

from persia._core import GrowingFiles
from persia.errors import InvalidInput
from persia.formats.layout import CHECKPOINT_ID, CHECKPOINT_MARKER, emb_file, shard_directory
from persia.formats.marker import MAX_NUMBER, Marker
from persia.system.durable import sync_directory

from .buckets import F32, MEMORY, U64
from .checkpoint import MAX_FILES
from .targets import DirectoryTarget

__all__ = ["GrowingCheckpoint", "Saved", "check_counts", "install", "work_files"]

Saved = list[list[int]]  # of each file: its rows, its bytes, and the byte of its last row


class GrowingCheckpoint:
    """The files of a checkpoint below a directory `work`, where no server looks for them."""

    def __init__(self, work: Path, marker: Marker, *, saved: Saved | None = None, memory: int = MEMORY) -> None:
        """saved: what save() told, to go on from there; None begins anew. Raises CorruptFile, OSError."""
        if saved is None:
            for shard in range(marker.num_shards):
                shard_directory(work, shard).mkdir(exist_ok=True)
        self._work = work
        self._shards = marker.num_shards
        self._files = GrowingFiles([path for _, path in work_files(work, marker)], saved=saved or [], memory=memory)

    def add(self, signs: U64, rows: F32) -> None:
        """Takes signs (n), rows (n, dim); the least recently used come first. Raises OSError."""
        # As files is a multiple of shards, (hash % files) % shards is the hash % shards that readers go by.
        self._files.add(signs, rows)

    def save(self) -> Saved:
        """Puts all that was added on disk, and tells how another object can go on from here. Raises OSError."""
        saved = self._files.save()
        self._sync_names()
        return saved

    def finish(self) -> None:
        """The files are whole and on disk. Raises OSError."""
        self._files.finish()
        self._sync_names()

    def _sync_names(self) -> None:
        for shard in range(self._shards):
            sync_directory(shard_directory(self._work, shard))
        sync_directory(self._work)


def check_counts(marker: Marker) -> None:
    """Raises InvalidInput."""
    for name, value in (("shards", marker.num_shards), ("files", marker.num_internal_shards)):
        if not 1 <= value <= MAX_NUMBER:
            raise InvalidInput(f"expected 1 to {MAX_NUMBER} {name}, got {value}")
    if (files := marker.num_shards * marker.num_internal_shards) > MAX_FILES:
        raise InvalidInput(f"expected at most {MAX_FILES} files, got {files}")


def work_files(work: Path, marker: Marker) -> list[tuple[int, Path]]:
    """Each file below `work` with its shard, in the order in which the hash of a sign names them."""
    return [
        (shard, emb_file(shard_directory(work, shard), shard, index))
        for index in range(marker.num_internal_shards)
        for shard in range(marker.num_shards)
    ]


def install(work: Path, target: DirectoryTarget, marker: Marker, checkpoint_id: str) -> None:
    """Moves the files to their place, and marks the checkpoint last. If it was stopped, it can be called again.

    REQUIRES: target.clear() has been called, and not since the first call of this. Raises OSError.
    """
    out = target.work
    for shard, path in work_files(work, marker):
        if path.exists():
            os.replace(path, shard_directory(out, shard) / path.name)
    for shard in range(marker.num_shards):
        sync_directory(shard_directory(out, shard))
        target.mark(shard_directory(out, shard) / CHECKPOINT_MARKER, marker.to_bytes())
    target.mark(out / CHECKPOINT_ID, checkpoint_id.encode() + b"\n")
    target.mark(out / CHECKPOINT_MARKER, marker.to_bytes())
