"""`embedding_dump_done`: the file that says that a checkpoint is complete, letter by letter as Persia writes it.

Who depends on it, beside those who ask whether it is there:

    persia.formats.checkpoint      takes the numbers of shards and files by which it looks for what has to be there
    persia.formats.identity        makes the checkpoint's identity of all four fields of all markers
    persia.formats.bounds          compares the datetime with the time of the marker's own file, to see whether it is a copy
    persia.writers.checkpoint      writes one in each shard's directory, and that of the root last
    embedding_server.tools         inspection shows it; resharding writes it with other counts and the same datetime
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from persia.errors import CorruptFile

from .layout import CHECKPOINT_MARKER

__all__ = ["MAX_NUMBER", "Marker", "read_marker"]

MAX_BYTES = 4096
MAX_NUMBER = 65_535

_FORM = re.compile(
    rb"(?:---\n)?num_shards: (\d{1,5})\nnum_internal_shards: (\d{1,5})\n"
    rb"datetime:\n  secs_since_epoch: (\d{1,18})\n  nanos_since_epoch: (\d{1,9})\n*"
)


class Marker(msgspec.Struct, frozen=True):
    num_shards: int
    num_internal_shards: int
    seconds: int
    nanos: int

    def to_bytes(self) -> bytes:
        return (
            f"---\nnum_shards: {self.num_shards}\nnum_internal_shards: {self.num_internal_shards}\n"
            f"datetime:\n  secs_since_epoch: {self.seconds}\n  nanos_since_epoch: {self.nanos}\n\n"
        ).encode()


def read_marker(directory: Path) -> Marker | None:
    """The marker in a checkpoint's directory or in one of its shards', or None if there is none.

    Raises:
        CorruptFile: the marker is empty or otherwise not what Persia writes.
    """
    path = directory / CHECKPOINT_MARKER
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    form = _FORM.fullmatch(data)
    if form is None:
        raise CorruptFile(str(path), "num_shards, num_internal_shards and datetime", f"{data[:80]!r}", 0)
    marker = Marker(*map(int, form.groups()))
    if not (1 <= marker.num_shards <= MAX_NUMBER and 1 <= marker.num_internal_shards <= MAX_NUMBER):
        raise CorruptFile(str(path), f"1 to {MAX_NUMBER} shards, and files in each", f"{data[:80]!r}", 0)
    return marker
