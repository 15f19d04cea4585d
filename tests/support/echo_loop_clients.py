"""Clients of gRPC that want an event loop, behind the face of echo_clients.py: grpcio's aio, and grpclib."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.config import Configuration
from grpclib.exceptions import GRPCError

from tests.support.echo_clients import (
    UNLIMITED,
    Answer,
    Begun,
    Client,
    Failed,
    Request,
    failed_of_grpcio,
    grpcio_arguments,
    grpcio_credentials,
)
from tests.support.servers import PATIENCE


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, Answer]) -> Begun:
        return _Later(asyncio.run_coroutine_threadsafe(work, self._loop))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * PATIENCE)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class _Later:
    future: Any

    def cancel(self) -> None:
        self.future.cancel()

    def result(self) -> Answer:
        answer: Answer = self.future.result(2 * PATIENCE)
        return answer


class LoopClient(Client):
    """What a client with coroutines needs to look like one without."""

    def __init__(self, open_channel: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        with ExitStack() as stack:
            self._loop = Loop()
            stack.callback(self._loop.close)
            self._channel = self._loop.run(open_channel())
            stack.callback(lambda: self._loop.run(self._close()))
            self._stack = stack.pop_all()

    async def _close(self) -> None:
        raise NotImplementedError

    async def _ask(self, request: Request) -> Answer:
        raise NotImplementedError

    def begin(self, request: Request) -> Begun:
        return self._loop.begin(self._ask(request))

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class AioClient(LoopClient):
    """grpcio's grpc.aio."""

    sends_gzip = True

    def __init__(self, address: str, certificates: Path | None) -> None:
        async def open_channel() -> grpc.aio.Channel:
            if certificates is None:
                return grpc.aio.insecure_channel(address, UNLIMITED)
            return grpc.aio.secure_channel(address, grpcio_credentials(certificates), UNLIMITED)

        super().__init__(open_channel)

    async def _close(self) -> None:
        await self._channel.close()

    async def _ask(self, request: Request) -> Answer:
        arguments = grpcio_arguments(request)
        try:
            if request.streams:
                call = self._channel.unary_stream(request.path)(request.message, **arguments)
                messages = [message async for message in call]
            else:
                call = self._channel.unary_unary(request.path)(request.message, **arguments)
                messages = [await call]
            return Answer(messages, dict(await call.trailing_metadata()))
        except grpc.aio.AioRpcError as error:
            raise failed_of_grpcio(error) from None


class _Bytes:
    """grpclib's idea of a message: what is sent is what is given."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, _kind: object) -> bytes:
        return message

    def decode(self, message: bytes, _kind: object) -> bytes:
        return message


class GrpclibClient(LoopClient):
    """grpclib, which is written in Python from the HTTP/2 frames on."""

    sends_gzip = False

    def __init__(self, address: str, certificates: Path | None) -> None:
        host, _, port = address.rpartition(":")
        context: ssl.SSLContext | None = None
        if certificates is not None:
            context = ssl.create_default_context(cafile=certificates / "ca.pem")
            context.load_cert_chain(certificates / "client.pem", certificates / "client-key.pem")
            context.set_alpn_protocols(["h2"])
        windows = Configuration(http2_connection_window_size=1 << 24, http2_stream_window_size=1 << 23)

        async def open_channel() -> Channel:
            return Channel(host, int(port), ssl=context, codec=_Bytes(), config=windows)  # type: ignore[arg-type]

        super().__init__(open_channel)

    async def _close(self) -> None:
        protocol: Any = self._channel._protocol
        # close() only says that it is to be closed: what it still has to send goes first, and the loop must not end before.
        transport = getattr(protocol and protocol.connection, "_transport", None)
        socket = transport.get_extra_info("socket") if transport is not None else None
        self._channel.close()
        while socket is not None and socket.fileno() != -1:
            await asyncio.sleep(0.001)

    async def _ask(self, request: Request) -> Answer:
        kind: Any = UnaryStreamMethod if request.streams else UnaryUnaryMethod
        method = kind(self._channel, request.path, bytes, bytes)
        try:
            async with method.open(timeout=request.seconds, metadata=request.metadata) as stream:
                await stream.send_message(request.message, end=True)
                messages = [message async for message in stream]
                await stream.recv_trailing_metadata()
                return Answer(messages, dict(stream.trailing_metadata))
        except GRPCError as error:
            trailers = dict(stream.trailing_metadata or stream.initial_metadata or {})
            raise Failed(error.status.value, error.message or "", trailers) from None
        except asyncio.TimeoutError:
            raise Failed(4, "the client has waited long enough", {}) from None
