"""HTTP/2 written by hand: for clients that do what no library would do."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from persia.rpc.wire import LOOKUP
from tests.support.proxies import FRAME_HEADER_BYTES, read_frame

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS = 1, 4
_ACK = 1
_INITIAL_WINDOW = 4
_LARGEST_WINDOW = 2**31 - 1
_LARGEST_FRAME = 16_384


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


# What a client begins with. It takes whatever comes, without a word in between.
GREETING = b"".join(
    (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        frame(SETTINGS, 0, 0, _INITIAL_WINDOW.to_bytes(2, "big") + _LARGEST_WINDOW.to_bytes(4, "big")),
        frame(WINDOW_UPDATE, 0, 0, (_LARGEST_WINDOW - 65_535).to_bytes(4, "big")),
        frame(SETTINGS, _ACK, 0),  # of the server's, by which more may be sent
    )
)


def call(stream: int, message: bytes, path: str = LOOKUP) -> bytes:
    """A whole unary call of gRPC. stream: odd, and larger than those before."""
    return open_call(stream, path) + data(stream, len(message).to_bytes(5, "big") + message, END_STREAM)


def open_call(stream: int, path: str = LOOKUP) -> bytes:
    """Its headers."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "shard",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    return frame(HEADERS, END_HEADERS, stream, block)


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    pieces = [payload[i : i + _LARGEST_FRAME] for i in range(0, len(payload), _LARGEST_FRAME)]
    return b"".join(frame(DATA, flags if i == len(pieces) - 1 else 0, stream, piece) for i, piece in enumerate(pieces))


def frames_of(sock: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """What comes until the connection ends: of each frame its kind, its flags, its stream, and its payload."""
    while len(got := read_frame(sock)) >= FRAME_HEADER_BYTES:
        yield got[3], got[4], int.from_bytes(got[5:9], "big"), got[FRAME_HEADER_BYTES:]


def answer_to(sock: socket.socket, stream: int) -> bytes:
    """The message of a call's answer; empty where it has none."""
    message = b""
    for kind, flags, of, payload in frames_of(sock):
        assert kind != GOAWAY and (of != stream or kind != RST_STREAM), f"the server has ended the call: {payload!r}"
        if of == stream and kind == DATA:
            message += payload
        if of == stream and flags & END_STREAM and kind in (DATA, HEADERS):
            return message[5:]
    raise AssertionError("the connection ended before the answer did")
