"""One call of the Open Inference Protocol in a worker: read from its wire, and answered over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from persia.errors import PersiaError
from persia.open_inference import grpc, rest
from persia.open_inference.tensors import Tensor, TensorRequest

from .statuses import status_of

__all__ = ["PROTOCOL", "Call", "GrpcCall", "Reply", "RestCall", "is_rest"]

PROTOCOL = ":open-inference"  # the header by which the server says so: `rest` or `grpc`. No client can send it


class Reply(NamedTuple):
    """What goes back for it."""

    status: int
    headers: dict[str, str]
    body: bytes


class Call(Protocol):
    """As each of the two wires has it."""

    @property
    def request(self) -> TensorRequest: ...

    def answer(self, model: str, version: str, outputs: Sequence[Tensor]) -> Reply:
        """Raises InvalidInput for outputs that cannot be written as they are asked for."""

    def refuse(self, error: PersiaError) -> Reply: ...


def is_rest(headers: Mapping[str, Any]) -> bool:
    """Which of the wires a call came over."""
    return bool(headers[PROTOCOL] == "rest")


def json_length(headers: Mapping[str, Any]) -> str | None:
    """Where the JSON of a body over REST ends and binary tensors begin; None: nowhere."""
    wanted = rest.JSON_LENGTH.lower()
    return next((value for name, value in headers.items() if name.lower() == wanted), None)


class RestCall:
    """Over HTTP."""

    def __init__(self, headers: Mapping[str, Any], body: bytearray) -> None:
        """Raises InvalidInput."""
        self._read = rest.read_request(body, json_length(headers))
        self.request = self._read.request

    def answer(self, model: str, version: str, outputs: Sequence[Tensor]) -> Reply:
        headers, body = self._read.answer(model, version, self.request.chosen(outputs))
        return Reply(200, headers, body)

    @staticmethod
    def refuse(error: PersiaError) -> Reply:
        body = msgspec.json.encode({"error": str(error).encode(errors="backslashreplace").decode()})
        return Reply(status_of(error), {"content-type": "application/json"}, body + b"\n")


class GrpcCall:
    """Over gRPC: the server makes the status of an error, and its words are the body."""

    def __init__(self, body: bytearray) -> None:
        """Raises InvalidInput."""
        self._read = grpc.read_request(body)
        self.request = self._read.request

    def answer(self, model: str, version: str, outputs: Sequence[Tensor]) -> Reply:
        return Reply(200, {}, self._read.answer(model, version, self.request.chosen(outputs)))

    @staticmethod
    def refuse(error: PersiaError) -> Reply:
        return Reply(status_of(error), {}, str(error).encode(errors="backslashreplace"))
