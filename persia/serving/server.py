"""A gRPC server with what each of ours has: health, reflection, limits, errors as statuses, and a graceful end.

The native core speaks gRPC. What is asked often is answered there. The other calls stand in a line, and threads here answer
them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from persia import _core
from persia.errors import InvalidInput, Unavailable
from persia.rpc.status import status_of
from persia.rpc.wire import MAX_MESSAGE_BYTES
from persia.serving.answering import Each, Handler, PythonMethod, Stream, StreamHandler, Unary
from persia.serving.reflection import PATHS, Reflection

__all__ = ["Server"]

log = logging.getLogger(__name__)

# Of all requests and answers that are under way.
MAX_MEMORY_BYTES = 2 << 30
# What Python answers is short and seldom. One that hangs does not hold up the others.
THREADS = 4
_LOOK_SECONDS = 1.0
_HEAR_SECONDS = 0.05
_TELL_SECONDS = 10.0  # between two lines of the log about clients that could not be spoken with

_Request = TypeVar("_Request", bound=Message)


class Server:
    """Bound by listen(), so that a port that is taken is known before anything is loaded; serves from start() on."""

    def __init__(
        self,
        services: Sequence[str],
        *,
        descriptors: DescriptorPool | None = None,
        guard: _core.security.Guard | None = None,
        tls: _core.security.TlsContext | None = None,
        workers: int = 0,
        threads: int = THREADS,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
    ) -> None:
        """A server that listens nowhere yet.

        Args:
            services: Full names, for health and reflection.
            descriptors: Of services that protobuf's default pool does not know, for reflection.
            guard: Who may call; None: everybody.
            tls: What connections are encrypted with; None: they are not.
            workers: How many calls are worked on at a time; 0: as many as there are processors.
            threads: How many calls are answered in Python at a time.
            max_memory_bytes: Of all requests and answers that are under way.
        """
        self.native = _core.net.Server(
            workers=workers, max_memory_bytes=max_memory_bytes, max_message_bytes=MAX_MESSAGE_BYTES, guard=guard, tls=tls
        )
        self._health = _core.net.Health([*services])
        self._health.add_to(self.native)
        self._calls = _core.net.CallQueue()
        self._methods: dict[str, PythonMethod] = {}
        self._thread_count = threads
        self._threads: list[threading.Thread] = []
        reflection = Reflection(services, descriptors)
        for path in PATHS:
            self.add_messages(path, ServerReflectionRequest, reflection.answer)

    def add(self, path: str, method: _core.net.Method) -> None:
        """A method that the native core answers. path: `/package.Service/Method`."""
        self.native.add(path, method)

    def add_unary(self, path: str, kind: type[_Request], answer: Callable[[_Request], Message]) -> None:
        """A method of one request and one answer. What `answer` raises becomes the call's status."""
        self._add(path, Unary(lambda message, _call: answer(_parsed(kind, message)).SerializeToString()))

    def add_messages(self, path: str, kind: type[_Request], answer: Callable[[_Request], Message]) -> None:
        """A method to which a client sends any number of messages, each of which is answered by one."""
        self._add(path, Each(lambda message, _call: answer(_parsed(kind, message)).SerializeToString()))

    def add_handler(self, path: str, handler: Handler) -> None:
        """A method of one request and one answer, as bytes, whose handler wants to know who calls."""
        self._add(path, Unary(handler))

    def add_stream(self, path: str, handler: StreamHandler) -> None:
        """A method of one request whose answer is a stream: no more of it is made than the caller takes."""
        self._add(path, Stream(handler))

    def _add(self, path: str, method: PythonMethod) -> None:
        self._methods[path] = method
        self.native.add(path, self._calls.method(method.takes_stream))

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
        for number in range(self._thread_count):
            thread = threading.Thread(target=self._answer_calls, args=(number == 0,), name=f"rpc-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def leave(self) -> None:
        """Tells health checks that it is about to stop."""
        self._health.leave()

    def stop(self, seconds: float) -> None:
        """Takes no new calls, lets those that run finish for so long, then ends them."""
        self.leave()
        stopping = threading.Thread(target=self.native.stop, args=(seconds,), name="rpc-stop", daemon=True)
        stopping.start()
        while stopping.is_alive():  # signals are heard meanwhile
            stopping.join(_HEAR_SECONDS)
        self._calls.close()
        for thread in self._threads:
            thread.join(_LOOK_SECONDS)

    def _answer_calls(self, tells: bool) -> None:
        """tells: in this thread the log hears of clients that could not be spoken with."""
        told = time.monotonic() - _TELL_SECONDS
        while not self._calls.closed:
            if tells and time.monotonic() - told >= _TELL_SECONDS and self._tell_refused():
                told = time.monotonic()
            call = self._calls.next(_LOOK_SECONDS)
            if call is not None:
                self._answer(call)
            del call  # not held until the next one comes

    def _tell_refused(self) -> bool:
        count, last = self.native.take_refused_clients()
        if count:
            others = f", and {count - 1} others before" if count > 1 else ""
            log.warning("refused the client %s%s", last, others)
        return bool(count)

    def _answer(self, call: _core.net.ServerCall) -> None:
        """The one place where an exception becomes a status."""
        try:
            self._methods[call.path].answer(call)
        except Exception as error:
            code, text = status_of(error)
            call.finish(code, text)


def _parsed(kind: type[_Request], message: memoryview) -> _Request:
    try:
        return kind.FromString(bytes(message))
    except Exception as error:  # protobuf's own class is another one in each of its implementations
        raise InvalidInput(f"expected a {kind.DESCRIPTOR.full_name}, got other bytes: {error}") from None
