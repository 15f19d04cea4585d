"""Clients of gRPC that others wrote, behind one face: what a test asks of each of them. Here grpcio, with threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc
import numpy as np
from typing_extensions import Self

from tests.support.servers import PATIENCE

Value = str | bytes
Options = Mapping[str, Any]


@dataclass
class Failed(Exception):
    """A status that is not OK."""

    code: int
    message: str
    trailers: dict[str, Value]


@dataclass
class Answer:
    messages: list[bytes]
    trailers: dict[str, Value] = field(default_factory=dict)

    @property
    def message(self) -> bytes:
        (message,) = self.messages
        return message


@dataclass
class Request:
    """path: `/package.Service/Method`. streams: the answer has any number of messages."""

    path: str
    message: bytes = b""
    metadata: dict[str, Value] = field(default_factory=dict)
    seconds: float = PATIENCE
    gzip: bool = False
    streams: bool = False


class Begun(Protocol):
    """A call that is under way."""

    def cancel(self) -> None: ...
    def result(self) -> Answer: ...


class Client(ABC):
    """One channel. All calls go over it."""

    sends_gzip: bool

    @abstractmethod
    def __init__(self, address: str, certificates: Path | None) -> None: ...

    @abstractmethod
    def begin(self, request: Request) -> Begun: ...

    def call(self, request: Request) -> Answer:
        return self.begin(request).result()

    def echoes(self, path: str, size: int) -> bool:
        """Whether a message of that size comes back as it went."""
        sent = payload(size)
        return self.call(Request(path, sent)).message == sent

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...


def payload(size: int) -> bytes:
    """Bytes of which no two neighbourhoods are alike."""
    return np.arange((size + 3) // 4, dtype=">u4").tobytes()[:size]


UNLIMITED: list[tuple[str, Any]] = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]


def grpcio_credentials(certificates: Path) -> grpc.ChannelCredentials:
    ca, key, certificate = ((certificates / name).read_bytes() for name in ("ca.pem", "client-key.pem", "client.pem"))
    return grpc.ssl_channel_credentials(ca, key, certificate)


def grpcio_channel(address: str, certificates: Path | None, options: Options | None = None) -> grpc.Channel:
    settings = [*UNLIMITED, *(options or {}).items()]
    if certificates is None:
        return grpc.insecure_channel(address, settings)
    return grpc.secure_channel(address, grpcio_credentials(certificates), settings)


def grpcio_arguments(request: Request) -> dict[str, Any]:
    compression = grpc.Compression.Gzip if request.gzip else None
    return {"timeout": request.seconds, "metadata": tuple(request.metadata.items()), "compression": compression}


def failed_of_grpcio(error: Any) -> Failed:
    return Failed(error.code().value[0], error.details() or "", dict(error.trailing_metadata() or ()))


class GrpcioClient(Client):
    """grpcio, in threads."""

    sends_gzip = True

    def __init__(self, address: str, certificates: Path | None) -> None:
        self._channel = grpcio_channel(address, certificates)

    def begin(self, request: Request) -> Begun:
        arguments = grpcio_arguments(request)
        channel: Any = self._channel  # its stubs know no methods of bytes
        if request.streams:
            return _GrpcioStream(channel.unary_stream(request.path)(request.message, **arguments))
        return _GrpcioCall(channel.unary_unary(request.path).future(request.message, **arguments))

    def __exit__(self, *_: object) -> None:
        self._channel.close()


@dataclass
class _GrpcioCall:
    call: Any

    def cancel(self) -> None:
        self.call.cancel()

    def result(self) -> Answer:
        try:
            return Answer([self.call.result()], dict(self.call.trailing_metadata()))
        except grpc.RpcError as error:
            raise failed_of_grpcio(error) from None


@dataclass
class _GrpcioStream(_GrpcioCall):
    def result(self) -> Answer:
        try:
            return Answer([*self.call], dict(self.call.trailing_metadata()))
        except grpc.RpcError as error:
            raise failed_of_grpcio(error) from None
