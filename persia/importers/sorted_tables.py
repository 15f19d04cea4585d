"""A sorted table of keys and values in a file, as LevelDB writes it: the index of TensorFlow's checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from persia._core import crc32c
from persia.errors import CorruptFile

from .wire_fields import read_varint

__all__ = ["entries_of", "unmasked"]

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_TRAILER = 5  # behind a block: how it is compressed, and a checksum of the block with that byte
_MASK = 0xA282EAD8


def unmasked(checksum: int) -> int:
    """CRC-32C as it was before it was masked, which is done so that a checksum of checksums is worth something."""
    rotated = (checksum - _MASK) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def entries_of(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """All keys with their values, in the order of the keys. Raises CorruptFile, OSError."""
    data = path.read_bytes()
    if len(data) < _FOOTER or data[-8:] != _MAGIC:
        raise CorruptFile(str(path), f"a footer that ends with {_MAGIC.hex()}", data[-8:].hex(), max(len(data) - 8, 0))
    place = len(data) - _FOOTER
    try:
        for _ in range(2):  # the block of the table's own facts, of which there are none
            _, place = read_varint(data, place)
        begin, place = read_varint(data, place)
        size, _ = read_varint(data, place)
    except ValueError as error:
        raise CorruptFile(str(path), "the place of the index", str(error), place) from error
    for _, handle in _block(data, begin, size, path):
        begin, behind = read_varint(handle, 0)
        size, _ = read_varint(handle, behind)
        yield from _block(data, begin, size, path)


def _block(data: bytes, begin: int, size: int, path: Path) -> Iterator[tuple[bytes, bytes]]:
    end = begin + size
    if end + _TRAILER > len(data) - _FOOTER or size < 8:
        raise CorruptFile(
            str(path), f"a block of {size} bytes from byte {begin} on", f"a file of {len(data)} bytes", min(begin, len(data))
        )
    checksum = unmasked(int.from_bytes(data[end + 1 : end + _TRAILER], "little"))
    if (found := crc32c(data[begin : end + 1])) != checksum:
        raise CorruptFile(str(path), f"{size + 1} bytes with the CRC-32C {checksum:08x}", f"bytes with {found:08x}", begin)
    if data[end] != 0:
        raise CorruptFile(str(path), "a block that is not compressed", f"one of the kind {data[end]}", end)
    restarts = int.from_bytes(data[end - 4 : end], "little")
    stop = end - 4 - 4 * restarts
    place, key = begin, b""
    while place < stop:
        shared, place = read_varint(data, place)
        own, place = read_varint(data, place)
        length, place = read_varint(data, place)
        key = key[:shared] + data[place : place + own]
        place += own + length
        yield key, data[place - length : place]
