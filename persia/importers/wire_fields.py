"""Numbers and fields as protobuf writes them, which TensorFlow's files have in them."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["fields_of", "read_varint"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at that place, and the place behind it. Raises IndexError where it is cut, ValueError beyond 64 bits."""
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def fields_of(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The number and the value of each field of a message. Raises IndexError or ValueError for what is none."""
    place = 0
    while place < len(message):
        tag, place = read_varint(message, place)
        kind = tag & 7
        if kind == _VARINT:
            value, place = read_varint(message, place)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, place = read_varint(message, place)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of the kind {kind}")
        if place + size > len(message):
            raise IndexError(f"a field of {size} bytes, of which {len(message) - place} are there")
        content = message[place : place + size]
        place += size
        yield tag >> 3, content if kind == _BYTES else int.from_bytes(content, "little")
