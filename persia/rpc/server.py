"""A gRPC server with what each of ours has: health, reflection, limits, errors as statuses, and a graceful end."""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from persia.errors import TooLarge, Unavailable
from persia.rpc.status import status_of

__all__ = ["MAX_MESSAGE_BYTES", "Server", "StopSignal"]

log = logging.getLogger(__name__)

# gRPC's own 4 MiB end at some 5,000 ids of 26 features; 256 MiB are 16 million ids, and bound what one call can make us hold.
MAX_MESSAGE_BYTES = 256 << 20

# Work runs without the interpreter's lock, and a middleware's calls wait for shards. So there are many more threads than cores,
# made when they are needed, and one large call does not delay another.
THREADS = 320
# The streams of reflection hold their thread for as long as they are open. One too many is refused at once: else they could
# take all threads, and health checks would wait for ever.
STREAMS = 16

# Routers keep connections open and idle; pings find out within 40 seconds that a peer is gone without a word.
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # what current gRPC goes by instead of the one before, else 60 s
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]

_Behavior = Callable[[Any, grpc.ServicerContext], Any]


class _ErrorsToStatuses(grpc.ServerInterceptor):
    """The one place where an exception becomes a status, and where streams are counted."""

    def __init__(self) -> None:
        self._streams = BoundedSemaphore(STREAMS)

    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(handler.unary_unary), handler.request_deserializer, handler.response_serializer
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(handler.stream_stream), handler.request_deserializer, handler.response_serializer
            )
        return handler

    @staticmethod
    def _unary(behavior: _Behavior) -> _Behavior:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return behavior(request, context)
            except Exception as error:
                _abort(context, error)

        return call

    def _stream(self, behavior: _Behavior) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
        def call(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            if not self._streams.acquire(blocking=False):
                _abort(context, TooLarge(f"expected at most {STREAMS} open streams, got one more"))
            try:
                yield from behavior(requests, context)
            finally:
                self._streams.release()

        return call


def _abort(context: grpc.ServicerContext, error: Exception) -> None:
    # context.abort raises a bare Exception of its own, which must pass: gRPC ends the call with it.
    if type(error) is Exception or isinstance(error, grpc.RpcError):
        raise error
    context.abort(*status_of(error))


class Server:
    """Bound on construction, so that a port that is taken is known before anything is loaded; serves from start() on."""

    def __init__(self, address: str, services: list[str]) -> None:
        """address: `host:port`, port 0 for any; services: full names, for health and reflection. Raises Unavailable."""
        self.grpc = grpc.server(
            ThreadPoolExecutor(THREADS, thread_name_prefix="rpc"),
            interceptors=[_ErrorsToStatuses()],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # Two servers on one port would each get some of the calls.
                ("grpc.so_reuseport", 0),
                *KEEPALIVE,
            ],
        )
        self._services = services
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], self.grpc)
        self.set_serving(False)
        try:
            port = self.grpc.add_insecure_port(address)
        except RuntimeError:  # gRPC has said why on stderr; its exception does not
            raise Unavailable(f"expected a free address to listen on, got {address}") from None
        self.address = f"{address.rpartition(':')[0]}:{port}"

    def set_serving(self, serving: bool) -> None:
        """What health checks are told, for the whole server and for each service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ["", *self._services]:
            self._health.set(service, status)

    def start(self) -> None:
        self.grpc.start()

    def leave(self) -> None:
        """Tells health checks that it is about to stop."""
        self._health.enter_graceful_shutdown()

    def stop(self, seconds: float) -> None:
        """Takes no new calls, lets those that run finish for so long, then ends them."""
        self.leave()
        self.grpc.stop(seconds).wait()


class StopSignal:
    """The first SIGTERM, SIGINT or SIGHUP asks for a graceful end; a second ends the process at once, with 128 + its number.

    Until serving() is called there is nothing to finish, and the first one ends the process at once, with 0.
    """

    def __init__(self) -> None:
        self._serving = self._asked = False
        # Each signal leaves a byte here as it comes, whichever thread it comes to. A lock would not do: Python runs a handler
        # in the main thread only, and does not wake it from a lock if the signal came a moment before it began to wait.
        self._wake, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        # What is ignored, as under nohup, stays so.
        hangup = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
        self._numbers = (signal.SIGTERM, signal.SIGINT, *hangup)
        for number in self._numbers:
            signal.signal(number, self._on_signal)

    def serving(self) -> None:
        """From here on there are calls to finish."""
        self._serving = True

    def wait(self) -> None:
        """Until a graceful end is asked for."""
        while not self.wait_for(None):
            pass

    def wait_for(self, seconds: float | None) -> bool:
        """Waits for so long at most (None: no limit); whether a graceful end is asked for."""
        ready, _, _ = select.select([self._wake], [], [], seconds)
        return bool(ready) and os.read(self._wake, 1)[0] in self._numbers

    def _on_signal(self, number: int, _frame: object) -> None:
        if not self._serving or self._asked:
            os._exit(128 + number if self._asked else 0)
        self._asked = True
