"""What was applied, on disk: a line of JSON per packet. A restart holds what it finds against it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from persia.errors import CorruptFile

__all__ = ["Journal"]

log = logging.getLogger(__name__)


class Journal:
    """Append only. One writer; a line is on disk when append() returns."""

    def __init__(self, path: Path) -> None:
        """Reads what there is. A last line that a crash cut off is dropped; any other damage raises CorruptFile."""
        self.path = path
        self.entries = list(self._read())
        self._file: BinaryIO | None = None

    def _read(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            log.warning("%s: dropping %d bytes of a line that was not finished", self.path, len(data) - whole)
            os.truncate(self.path, whole)
        at = 0
        for line in data[:whole].splitlines(keepends=True):
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise CorruptFile(str(self.path), "a line of JSON", str(error), at) from None
            if not isinstance(entry, dict):
                raise CorruptFile(str(self.path), "an object", repr(entry)[:80], at)
            yield entry
            at += len(line)

    def append(self, entry: dict[str, Any]) -> None:
        if self._file is None:
            # Not before there is something to write: the directory of packets may be a disk that is mounted later.
            self.path.parent.mkdir(exist_ok=True)
            self._file = self.path.open("ab")
        self.entries.append(entry)
        self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
