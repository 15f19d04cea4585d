"""What was applied, on disk: a line of JSON per packet. A restart holds what it finds against it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from persia.errors import CorruptFile

__all__ = ["Entry", "Journal"]

log = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True):
    """A packet that was applied, and the files that it had then."""

    packet: str
    seconds: int
    files: list[str]
    rows: int
    version: int


class Journal:
    """Append only. One writer; a line is on disk when append() returns."""

    def __init__(self, path: Path) -> None:
        """Reads what there is. A last line that is not finished is passed over; any other damage raises CorruptFile."""
        self.path = path
        self.entries = list(self._read())  # of earlier runs

    def _read(self) -> Iterator[Entry]:
        if not self.path.exists():
            return
        at = 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                log.warning("%s: passing over %d bytes of a line that was not finished", self.path, len(line))
                return
            try:
                entry = msgspec.convert(json.loads(line), Entry)
            except (ValueError, msgspec.ValidationError) as error:
                raise CorruptFile(str(self.path), "a line of JSON about a packet", str(error), at) from None
            yield entry
            at += len(line)

    def append(self, entry: Entry) -> None:
        # The directory of packets may be a disk that is mounted later, or be deleted and made again: so nothing is made
        # before there is something to write, and nothing stays open.
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a+b") as file:
            _drop_half_line(file)
            file.write(json.dumps(msgspec.structs.asdict(entry), separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _drop_half_line(file: BinaryIO) -> None:
    """Takes away what a crash or a full disk left at the end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read(1) in (b"", b"\n"):
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
