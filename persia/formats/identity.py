"""The identity of a checkpoint: a number that all servers that loaded it come to, whatever their shards."""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from .checkpoint import Checkpoint, marker_of
from .layout import CHECKPOINT_ID, emb_files, shard_directory

__all__ = ["identify"]

log = logging.getLogger(__name__)

_END_BYTES = 64  # of each file, at its beginning and at its end


def identify(checkpoint: Checkpoint, workers: int) -> int:
    """A number of 64 bits, never 0, made of the markers' times and counts and of the size and both ends of every file.

    Our writers leave random digits beside the root's marker, which count as well: a checkpoint that is written again with some
    other rows and the same datetime is another one. Real Persia's datetimes are never the same twice.

    The files of all shards count, also of those that this server does not load. Where such a file is not there, because each
    machine has a copy of its own shard alone, the markers have to do: they say the time to the nanosecond.

    Raises:
        CorruptFile, OSError: A marker is broken, or a file cannot be read.
    """
    digest = hashlib.sha256()
    root = checkpoint.marker
    shards = [shard_directory(checkpoint.directory, i) for i in range(root.num_shards)]
    for marker in (root, *map(marker_of, shards)):
        digest.update(repr((marker.num_shards, marker.num_internal_shards, marker.seconds, marker.nanos)).encode())
    with suppress(FileNotFoundError):
        digest.update((checkpoint.directory / CHECKPOINT_ID).read_bytes())
    paths = [path for i, shard in enumerate(shards) for path in emb_files(shard, i, root.num_internal_shards)]
    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="identify") as pool:
            for path, facts in zip(paths, list(pool.map(_facts_of, paths)), strict=True):
                digest.update(repr((path.parent.name, path.name, facts)).encode())
    except FileNotFoundError as error:
        if Path(str(error.filename)) in checkpoint.files:
            raise
        log.info("%s is not there: the checkpoint's identity is made of its markers alone", error.filename)
    return int.from_bytes(digest.digest()[:8], "little") or 1


def _facts_of(path: Path) -> tuple[int, bytes, bytes]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        first = file.read(_END_BYTES)
        file.seek(max(0, size - _END_BYTES))
        return size, first, file.read(_END_BYTES)
