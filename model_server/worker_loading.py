"""How a server has a worker load its model, and what the worker says of it: the first words between them."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from .worker_messages import REQUESTS_AT_ONCE

__all__ = ["Loaded", "load_request", "read_loaded"]


class Loaded(NamedTuple):
    """HTTP's status of it and words; and what the model says of its tensors, and of how many requests it takes at once."""

    code: int
    message: str
    metadata: bytes = b""
    requests_at_once: int = 1


def load_request(
    name: str, directory: str, batch_size: int, handler: str, gpu: int | None, envelope: str, limits_image_pixels: bool
) -> bytes:
    """As TorchServe's front end says it; native/inference/frame_numbers.hpp names the other places of the protocol."""
    return (
        b"L"
        + _text(name)
        + _text(directory)
        + struct.pack("!i", batch_size)
        + _text(handler)
        + struct.pack("!i", -1 if gpu is None else gpu)
        + _text(envelope)
        + (b"\1" if limits_image_pixels else b"\0")
    )


def read_loaded(connection: socket.socket) -> Loaded:
    """Raises OSError, EOFError if the worker closes the connection."""
    loaded = Loaded(_number(connection), _sized(connection).decode())
    while (length := _number(connection)) >= 0:  # the only prediction of its reply says more
        _exactly(connection, length)  # a request's id
        _sized(connection)  # its content type
        _number(connection)  # its status
        _sized(connection)  # its reason
        headers = {_sized(connection): _sized(connection) for _ in range(_number(connection))}
        requests_at_once = int(headers.get(REQUESTS_AT_ONCE.encode(), b"1"))
        loaded = loaded._replace(metadata=_sized(connection), requests_at_once=requests_at_once)
    return loaded


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("!i", len(encoded)) + encoded


def _number(connection: socket.socket) -> int:
    number: int = struct.unpack("!i", _exactly(connection, 4))[0]
    return number


def _sized(connection: socket.socket) -> bytes:
    """Bytes with their length before them."""
    return _exactly(connection, _number(connection))


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part:
            raise EOFError("the worker has closed the connection")
        received += part
    return bytes(received)
