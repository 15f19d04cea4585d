"""One request at a time to one server, without waiting: who asks polls `fileno()` for `events`, and calls advance().

So one thread asks many servers at once, and gives up or turns to another one whenever it likes.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
from collections.abc import Sequence
from typing import Any, Protocol

import grpc
import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from persia.errors import PersiaError, Unavailable
from persia.rpc.frames import HEADER_BYTES, TURNS, frame, header_of, message_of, send
from persia.rpc.methods import Method
from persia.rpc.status import error_of

__all__ = ["Answer", "Connection", "FrameConnection", "GrpcConnection"]

# The first read of an answer: most small answers come whole with it.
_FIRST_READ = 16 << 10
# More than anybody waits, and not too much for gRPC.
_LONG_SECONDS = 1e6
_NOTHING = np.empty(0, np.uint8)

# Of all connections together: so an answer that got into another connection is found out as well.
_turns = itertools.count()


class Answer:
    """A response message, and its bulk columns in memory of their own: u8, writable where they came in a frame."""

    __slots__ = ("columns", "message")

    def __init__(self, message: Any, columns: list[npt.NDArray[np.uint8]]) -> None:
        self.message, self.columns = message, columns


class Connection(Protocol):
    """For use by one thread at a time. All errors are Unavailable or what the server answered."""

    events: int  # of select.poll

    def fileno(self) -> int: ...
    def ask(self, message: Any, columns: Sequence[Buffer], seconds: float) -> None:
        """Begins a request. REQUIRES: the one before is answered."""

    def advance(self) -> Answer | None:
        """Goes on as far as it can; the answer once it is whole."""

    def is_stale(self) -> bool:
        """Whether it is of no more use, between two requests: the server has ended it, for instance."""

    def close(self) -> None:
        """Also gives up a request that is under way."""


class FrameConnection:
    """Over plain TCP."""

    def __init__(self, method: Method, family: int, address: tuple[Any, ...]) -> None:
        self._method = method
        self._columns = len(method.response_columns) + 1
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # out of file descriptors
            raise Unavailable(str(error)) from None
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._said = select.poll()
        self._said.register(self._socket, select.POLLIN)
        self._unsent: list[memoryview] = []
        self._start = b""
        self._turn = 0
        self._lengths: tuple[int, ...] | None = None
        self._frame = _NOTHING
        self._got = 0
        self._connected = False
        self.events = select.POLLOUT
        try:
            self._socket.connect(address)
            self._connected = True
        except BlockingIOError:
            pass
        except OSError as error:
            self.close()
            raise Unavailable(str(error)) from None

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, message: Any, columns: Sequence[Buffer], seconds: float) -> None:
        self._lengths, self._start = None, b""
        self._turn = next(_turns) % TURNS
        self._unsent = frame(message, *columns).in_turn(self._turn)
        self.events = select.POLLOUT
        if self._connected:
            self._send()

    def advance(self) -> Answer | None:
        if self._unsent:
            self._send()
        return None if self._unsent else self._receive()

    def _send(self) -> None:
        try:
            self._unsent = send(self._socket, self._unsent)
        except OSError as error:
            raise Unavailable(str(error)) from None
        self._connected = True
        if not self._unsent:
            self.events = select.POLLIN

    def _receive(self) -> Answer | None:
        try:
            if self._lengths is None and not self._begin():
                return None
            left = len(self._frame) - self._got
            if left:
                count = self._socket.recv_into(self._frame[self._got :].data)
                if count == 0:
                    raise Unavailable("the connection ended within an answer")
                self._got += count
                if count < left:
                    return None
        except BlockingIOError:
            return None
        except OSError as error:
            raise Unavailable(str(error)) from None
        return self._finish()

    def _begin(self) -> bool:
        """Reads the header, and what comes with it."""
        more = self._socket.recv(_FIRST_READ)
        if not more:
            raise Unavailable("the connection ended before an answer")
        start = self._start = self._start + more
        if len(start) < HEADER_BYTES:
            return False
        try:
            turn, self._lengths = header_of(start, self._columns)
        except PersiaError as error:
            raise Unavailable(f"an answer that is none: {error}") from None
        if turn != self._turn:
            raise Unavailable(f"an answer that is none: expected one to request {self._turn}, got one to {turn}")
        size = HEADER_BYTES + sum(self._lengths)
        if len(start) > size:
            raise Unavailable("an answer that is none: more bytes than it announces")
        if len(start) == size:
            self._frame = np.frombuffer(bytearray(start), np.uint8)
        else:
            self._frame = np.empty(size, np.uint8)
            self._frame[: len(start)] = np.frombuffer(start, np.uint8)
        self._got = len(start)
        return True

    def _finish(self) -> Answer:
        assert self._lengths is not None
        whole, self._frame = self._frame, _NOTHING  # not held until the next answer comes
        self._start = b""
        columns, begin = [], HEADER_BYTES
        for length in self._lengths[:-1]:
            columns.append(whole[begin : begin + length])
            begin += length
        try:
            message = message_of(self._method.response, whole[begin:].data)
        except PersiaError as error:
            raise Unavailable(f"an answer that is none: {error}") from None
        self.events = 0
        return Answer(message, columns)

    def is_stale(self) -> bool:
        return bool(self._said.poll(0))  # ended, or says something that nobody asked for

    def close(self) -> None:
        self._socket.close()


class GrpcConnection:
    """Over gRPC, where there is no way for frames: slower, and the same to who asks."""

    def __init__(self, method: Method, channel: grpc.Channel) -> None:
        self._method = method
        self._call = channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
        try:
            self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError as error:  # out of file descriptors
            raise Unavailable(str(error)) from None
        self._future: Any = None
        self.events = select.POLLIN

    def fileno(self) -> int:
        return self._event

    def ask(self, message: Any, columns: Sequence[Buffer], seconds: float) -> None:
        request = self._method.request()
        request.CopyFrom(message)
        for name, column in zip(self._method.request_columns, columns, strict=True):
            setattr(request, name, bytes(column))
        try:
            # A descriptor of its own, so that an answer that comes after close() writes to nobody else's.
            event = os.dup(self._event)
        except OSError as error:
            raise Unavailable(str(error)) from None
        try:
            self._future = self._call.future(request, timeout=min(seconds, _LONG_SECONDS))
        except ValueError as error:  # as gRPC calls it
            os.close(event)
            raise Unavailable(f"the channel was closed: {error}") from None

        def wake(_: object) -> None:
            os.eventfd_write(event, 1)
            os.close(event)

        self._future.add_done_callback(wake)

    def advance(self) -> Answer | None:
        if not self._future.done():
            return None
        os.eventfd_read(self._event)
        try:
            message = self._future.result()
        except grpc.FutureCancelledError:
            raise Unavailable("the channel was closed") from None
        except grpc.RpcError as error:
            code = error.code()
            # Nobody here cancelled it: the server is on its way out.
            code = grpc.StatusCode.UNAVAILABLE if code == grpc.StatusCode.CANCELLED else code
            raise error_of(code, str(error.details())) from None
        return Answer(message, [np.frombuffer(getattr(message, name), np.uint8) for name in self._method.response_columns])

    def is_stale(self) -> bool:
        return True  # a new one costs little beside the call, and may be one for frames by then

    def close(self) -> None:
        if self._future is not None:
            self._future.cancel()
        os.close(self._event)
