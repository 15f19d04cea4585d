"""A gRPC server with what each of ours has: health, reflection, limits, errors as statuses, and a graceful end.

The native core speaks gRPC. What is asked often is answered there. The other calls stand in a line, and threads here answer
them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from persia import _core
from persia.errors import InvalidInput, Unavailable
from persia.rpc.reflection import PATHS, Reflection
from persia.rpc.status import status_of

__all__ = ["MAX_MESSAGE_BYTES", "Server"]

log = logging.getLogger(__name__)

# gRPC's own 4 MiB end at some 5,000 ids of 26 features; 256 MiB are 16 million ids, and bound what one call can make us hold.
MAX_MESSAGE_BYTES = 256 << 20
# Of all requests and answers that are under way.
MAX_MEMORY_BYTES = 2 << 30
# What Python answers is short and seldom. One that hangs does not hold up the others.
_THREADS = 4
_LOOK_SECONDS = 1.0

_Request = TypeVar("_Request", bound=Message)
Handler = Callable[[memoryview], bytes]


class Server:
    """Bound by listen(), so that a port that is taken is known before anything is loaded; serves from start() on."""

    def __init__(
        self,
        services: Sequence[str],
        *,
        guard: _core.security.Guard | None = None,
        tls: _core.security.TlsContext | None = None,
        workers: int = 0,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
    ) -> None:
        """A server that listens nowhere yet.

        Args:
            services: Full names, for health and reflection.
            guard: Who may call; None: everybody.
            tls: What connections are encrypted with; None: they are not.
            workers: How many calls are worked on at a time; 0: as many as there are processors.
            max_memory_bytes: Of all requests and answers that are under way.
        """
        self.native = _core.net.Server(
            workers=workers, max_memory_bytes=max_memory_bytes, max_message_bytes=MAX_MESSAGE_BYTES, guard=guard, tls=tls
        )
        self._health = _core.net.Health([*services])
        self._health.add_to(self.native)
        self._calls = _core.net.CallQueue()
        self._handlers: dict[str, Handler] = {}
        self._takes_stream: dict[str, bool] = {}
        self._threads: list[threading.Thread] = []
        reflection = Reflection(services)
        for path in PATHS:
            self.add_messages(path, ServerReflectionRequest, reflection.answer)

    def add(self, path: str, method: _core.net.Method) -> None:
        """A method that the native core answers. path: `/package.Service/Method`."""
        self.native.add(path, method)

    def add_unary(self, path: str, kind: type[_Request], answer: Callable[[_Request], Message]) -> None:
        """A method of one request and one answer. What `answer` raises becomes the call's status."""
        self._add(path, lambda message: answer(_parsed(kind, message)).SerializeToString(), takes_stream=False)

    def add_messages(self, path: str, kind: type[_Request], answer: Callable[[_Request], Message]) -> None:
        """A method to which a client sends any number of messages, each of which is answered by one."""
        self._add(path, lambda message: answer(_parsed(kind, message)).SerializeToString(), takes_stream=True)

    def _add(self, path: str, handler: Handler, *, takes_stream: bool) -> None:
        self._handlers[path] = handler
        self._takes_stream[path] = takes_stream
        self.native.add(path, self._calls.method(takes_stream))

    def listen(self, address: str) -> str:
        """`host:port`, port 0 for any free one, or `unix:/path`. Returns it with its port. Raises Unavailable."""
        try:
            return self.native.listen(address)
        except OSError as error:
            raise Unavailable(error.strerror) from None

    def set_serving(self, serving: bool) -> None:
        """What health checks are told, for the whole server and for each service."""
        self._health.set_serving(serving)

    def start(self) -> None:
        self.native.start()
        for number in range(_THREADS):
            thread = threading.Thread(target=self._answer_calls, name=f"rpc-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def leave(self) -> None:
        """Tells health checks that it is about to stop."""
        self._health.leave()

    def stop(self, seconds: float) -> None:
        """Takes no new calls, lets those that run finish for so long, then ends them."""
        self.leave()
        self.native.stop(seconds)
        self._calls.close()
        for thread in self._threads:
            thread.join(_LOOK_SECONDS)

    def _answer_calls(self) -> None:
        while not self._calls.closed:
            call = self._calls.next(_LOOK_SECONDS)
            if call is not None:
                self._answer(call)
            del call  # not held until the next one comes

    def _answer(self, call: _core.net.ServerCall) -> None:
        """The one place where an exception becomes a status."""
        try:
            message = call.take_message()
            if message is None:  # the client of a stream has no more
                call.finish(0)
                return
            answer = self._handlers[call.path](memoryview(message))
            if self._takes_stream[call.path]:
                call.send(answer)
            else:
                call.reply(answer)
        except Exception as error:
            code, text = status_of(error)
            call.finish(code, text)


def _parsed(kind: type[_Request], message: memoryview) -> _Request:
    try:
        return kind.FromString(bytes(message))
    except Exception as error:  # protobuf's own class is another one in each of its implementations
        raise InvalidInput(f"expected a {kind.DESCRIPTOR.full_name}, got other bytes: {error}") from None
