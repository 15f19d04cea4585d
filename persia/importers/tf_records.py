"""Records in a file as TensorFlow's TFRecordWriter writes them: each with its length, and with a checksum of both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from persia._core import crc32c
from persia.errors import CorruptFile

from .sorted_tables import unmasked
from .stored import read_exactly

__all__ = ["read_record", "records_of"]

_HEAD = 12  # the length in 8 bytes, and its checksum in 4
_CHECKSUM = 4


def records_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each record, and the byte at which its head begins. Raises CorruptFile, OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        byte = 0
        while byte < size:
            record = read_record(file, path, size)
            yield byte, record
            byte += _HEAD + len(record) + _CHECKSUM


def read_record(file: IO[bytes], path: Path, size: int) -> bytes:
    """The record whose head is where the file of so many bytes stands. Raises CorruptFile, OSError."""
    byte = file.tell()
    head = read_exactly(file, path, _HEAD)
    _check(head[:8], head[8:], path, byte)
    length = int.from_bytes(head[:8], "little")
    if byte + _HEAD + length + _CHECKSUM > size:
        raise CorruptFile(str(path), f"a record of {length} bytes from byte {byte} on", f"a file of {size} bytes", byte)
    content = read_exactly(file, path, length + _CHECKSUM)
    _check(content[:length], content[length:], path, byte + _HEAD)
    return content[:length]


def _check(data: bytes, checksum: bytes, path: Path, byte: int) -> None:
    expected = unmasked(int.from_bytes(checksum, "little"))
    if (found := crc32c(data)) != expected:
        raise CorruptFile(str(path), f"{len(data)} bytes with the CRC-32C {expected:08x}", f"bytes with {found:08x}", byte)
