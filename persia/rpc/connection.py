"""One request at a time to one server, without waiting: who asks waits for `waits_on`, and then looks for the answer.

So one thread asks many servers at once, and gives up or turns to another one whenever it likes.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
from typing import Any, Protocol

import grpc
import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from persia import _core
from persia.errors import PersiaError, Unavailable
from persia.rpc.frames import HEADER_BYTES, TURNS, header_of, message_of
from persia.rpc.methods import Method
from persia.rpc.server import MAX_MESSAGE_BYTES
from persia.rpc.status import error_of

__all__ = ["Answer", "Columns", "Connection", "FrameConnection", "GrpcConnection"]

# More than anybody waits, and not too much for gRPC.
_LONG_SECONDS = 1e6

# Of all connections together: so an answer that got into another connection is found out as well.
_turns = itertools.count()


# Of a request, beside its message: what is planned for a shard, or a buffer each.
Columns = _core.ShardRequest | list[Buffer]


class Answer:
    """A response message, not to be changed, and its bulk columns.

    These are u8, and writable where they came in a frame, whose memory they share.
    """

    __slots__ = ("columns", "message")

    def __init__(self, message: Any, columns: list[npt.NDArray[np.uint8]]) -> None:
        self.message, self.columns = message, columns


class Connection(Protocol):
    """For use by one thread at a time. All errors are Unavailable or what the server answered."""

    @property
    def waits_on(self) -> _core.net.FrameCall | int:
        """What persia._core.net.exchange() is to wait for: a call, or a descriptor that can be read."""

    def ask(self, message: Any, columns: Columns, seconds: float) -> None:
        """Begins a request. message: not changed afterwards. REQUIRES: the one before is answered."""

    def answer(self) -> Answer | None:
        """What has come, if it is whole."""

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
        self.waits_on = _core.net.FrameCall(self._socket.fileno(), self._columns, MAX_MESSAGE_BYTES)
        self._turn = 0
        self._connected = False
        # Most messages are the one before once more: neither written nor read anew.
        self._asked: tuple[Any, bytes] = (None, b"")
        self._told: tuple[bytes, Any] = (b"", method.response())
        try:
            self._socket.connect(address)
            self._connected = True
        except BlockingIOError:
            pass
        except OSError as error:
            self.close()
            raise Unavailable(str(error)) from None

    def ask(self, message: Any, columns: Columns, seconds: float) -> None:
        self._turn = next(_turns) % TURNS
        if message is not self._asked[0]:
            self._asked = message, message.SerializeToString()
        self.waits_on.ask(self._turn, columns, self._asked[1], self._connected)
        self._connected = True  # before the next one

    def answer(self) -> Answer | None:
        taken = self.waits_on.take()
        if taken is None:
            if self.waits_on.error == errno.ENOMEM:  # not the server's fault
                raise MemoryError("expected memory for an answer, the system has none left")
            if self.waits_on.failed:
                raise Unavailable(self._why_failed())
            return None
        columns, message = taken
        if message != self._told[0]:
            try:
                self._told = message, message_of(self._method.response, message)
            except PersiaError as error:
                raise Unavailable(f"an answer that is none: {error}") from None
        return Answer(self._told[1], columns)

    def _why_failed(self) -> str:
        if self.waits_on.error:
            return os.strerror(self.waits_on.error)
        start, got = self.waits_on.start, self.waits_on.got
        if not got:
            return "the connection ended before an answer"
        if len(start) >= HEADER_BYTES:
            try:
                turn, lengths = header_of(start, self._columns)
            except PersiaError as error:
                return f"an answer that is none: {error}"
            if turn != self._turn:
                return f"an answer that is none: expected one to request {self._turn}, got one to {turn}"
            if got > HEADER_BYTES + sum(lengths):
                return "an answer that is none: more bytes than it announces"
        return "the connection ended within an answer"

    def is_stale(self) -> bool:
        return not self.waits_on.quiet

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
        self.waits_on = self._event

    def ask(self, message: Any, columns: Columns, seconds: float) -> None:
        request = self._method.request()
        request.CopyFrom(message)
        if isinstance(columns, _core.ShardRequest):
            arrays = columns.parts, columns.signs, columns.sum_counts, columns.sum_samples
            columns = [array.data for array in arrays]
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

    def answer(self) -> Answer | None:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:  # the future is done a moment before it rings
            return None
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
