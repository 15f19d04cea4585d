"""Frames: a message and its bulk columns as they travel over a plain TCP connection (docs/formats/frames.md).

A gRPC message costs several thread switches on each side and three copies of every bulk column; a small frame costs one system
call. So lookups take this way where they can. What is said is the same: a message of protos/persia/v1, whose bulk fields stand
before it as they are.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message
from typing_extensions import Buffer

from persia.errors import DecodeError, InvalidInput, TooLarge
from persia.rpc.server import MAX_MESSAGE_BYTES

__all__ = ["HEADER_BYTES", "TURNS", "Frame", "frame", "header_of", "message_of", "send"]

_Message = TypeVar("_Message", bound=Message)

_MAGIC = b"PSF1"
MAX_COLUMNS = 6  # the last one is the message
_HEADER = struct.Struct(f"<4sHH{MAX_COLUMNS}I")
HEADER_BYTES = _HEADER.size
TURNS = 1 << 16  # after the last one comes the first
_BEYOND = [(0,) * (MAX_COLUMNS - count) for count in range(MAX_COLUMNS + 1)]


class Frame:
    """What is to be sent: how long each column is, its message last, and the memory where they stand."""

    __slots__ = ("lengths", "pieces")

    def __init__(self, lengths: list[int], pieces: list[memoryview]) -> None:
        self.lengths, self.pieces = lengths, pieces

    def in_turn(self, turn: int) -> list[memoryview]:
        """For send(), the header included. turn: numbers the requests of a connection; an answer has that of its request."""
        count = len(self.lengths)
        header = _HEADER.pack(_MAGIC, count, turn, *self.lengths, *_BEYOND[count])
        return [memoryview(header), *self.pieces]


def frame(message: Any, *columns: Buffer) -> Frame:
    """Raises TooLarge."""
    pieces = [memoryview(column) for column in columns]
    pieces.append(memoryview(message.SerializeToString()))
    lengths = [piece.nbytes for piece in pieces]
    _check_size(lengths)
    return Frame(lengths, pieces)


def header_of(header: bytes, columns: int) -> tuple[int, tuple[int, ...]]:
    """The turn, and the bytes of each column and, last, of the message.

    Args:
        header: HEADER_BYTES bytes, and maybe what follows.
        columns: How many the frame must have, its message included.

    Raises:
        DecodeError: It is no such frame.
        TooLarge: It is over the limit.
    """
    magic, count, turn, *lengths = _HEADER.unpack_from(header)
    if magic != _MAGIC:
        raise DecodeError(f"a frame, which begins with {_MAGIC!r}", repr(magic), 0)
    if count != columns or any(lengths[count:]):
        raise DecodeError(f"a frame of {columns} columns", f"{count} with lengths {lengths}", 4)
    _check_size(lengths)
    return turn, tuple(lengths[:count])


def message_of(kind: type[_Message], column: Buffer) -> _Message:
    """The message of a frame. Raises InvalidInput."""
    try:
        return kind.FromString(bytes(column))
    except Exception as error:  # protobuf's own class is another one in each of its implementations
        raise InvalidInput(f"expected a {kind.DESCRIPTOR.full_name}, got other bytes: {error}") from None


def _check_size(lengths: Sequence[int]) -> None:
    if sum(lengths) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"expected a frame of at most {MAX_MESSAGE_BYTES} bytes, got {sum(lengths)}")


def send(sock: socket.socket, pieces: list[memoryview]) -> None:
    """Gives all of the pieces to a socket that blocks."""
    while pieces:
        pieces = _beyond(sock.sendmsg(pieces), pieces)


def _beyond(sent: int, pieces: list[memoryview]) -> list[memoryview]:
    """What is left of the pieces when so many bytes are gone."""
    for k, piece in enumerate(pieces):
        if sent < piece.nbytes:
            return [piece.cast("B")[sent:], *pieces[k + 1 :]]
        sent -= piece.nbytes
    return []
