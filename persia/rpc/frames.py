"""Frames: a message and its bulk columns as they travel over a plain TCP connection (docs/formats/frames.md).

A gRPC message costs several thread switches on each side and three copies of every bulk column; a frame costs one system call
and no copy. So lookups take this way where they can. What is said is the same: a message of protos/persia/v1, whose bulk
fields stand before it as they are.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any

from typing_extensions import Buffer

from persia.errors import DecodeError, TooLarge

__all__ = ["HEADER_BYTES", "MAX_COLUMNS", "frame", "lengths_of", "send"]

_MAGIC = b"PSF1"
MAX_COLUMNS = 6  # the last one is the message
_HEADER = struct.Struct(f"<4sI{MAX_COLUMNS}I")
HEADER_BYTES = _HEADER.size
# One system call takes so many pieces (IOV_MAX).
_MAX_PIECES = 1024


def frame(message: Any, *columns: Buffer | Sequence[Buffer]) -> list[Buffer]:
    """The pieces of a frame, for send(). A column may itself come in pieces. Raises TooLarge."""
    pieces: list[Buffer] = [b""]
    lengths = []
    for column in columns:
        parts = column if isinstance(column, (list, tuple)) else (column,)
        length = 0
        for part in parts:
            if size := memoryview(part).nbytes:
                pieces.append(part)
                length += size
        lengths.append(length)
    body: bytes = message.SerializeToString()
    pieces.append(body)
    lengths.append(len(body))
    if max(lengths) >= 1 << 32:
        raise TooLarge(f"expected columns below 4 GiB, got one of {max(lengths)} bytes")
    pieces[0] = _HEADER.pack(_MAGIC, len(lengths), *lengths, *[0] * (MAX_COLUMNS - len(lengths)))
    return pieces


def lengths_of(header: bytes, columns: int, limit: int) -> tuple[int, ...]:
    """The bytes of each column and, last, of the message.

    Args:
        header: HEADER_BYTES bytes.
        columns: How many the frame must have, its message included.
        limit: Bytes that all of them may have together.

    Raises:
        DecodeError: It is no such frame.
        TooLarge: It is over the limit.
    """
    magic, count, *lengths = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise DecodeError(f"a frame, which begins with {_MAGIC!r}", repr(magic), 0)
    if count != columns or any(lengths[count:]):
        raise DecodeError(f"a frame of {columns} columns", f"{count} with lengths {lengths}", 4)
    if sum(lengths) > limit:
        raise TooLarge(f"expected a frame of at most {limit} bytes, got {sum(lengths)}")
    return tuple(lengths[:count])


def send(sock: socket.socket, pieces: Sequence[Buffer]) -> list[memoryview]:
    """Gives the pieces to a socket, all of them if it blocks. Returns what a socket that does not block could not take yet."""
    views = [memoryview(piece).cast("B") for piece in pieces]
    while views:
        try:
            sent = sock.sendmsg(views[:_MAX_PIECES])
        except BlockingIOError:
            break
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if views:
            views[0] = views[0][sent:]
    return views
