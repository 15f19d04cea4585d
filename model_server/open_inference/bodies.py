"""Requests of the Open Inference Protocol for handlers that take them as TorchServe passes them on: as JSON."""

from __future__ import annotations

import base64
from typing import Any

from persia.errors import InvalidInput, PersiaError
from persia.open_inference.json_data import elements_to_json
from persia.open_inference.rest import read_answer
from persia.open_inference.tensors import Tensor, TensorRequest

__all__ = ["body_of", "outputs_of"]


def body_of(request: TensorRequest) -> dict[str, Any]:
    """The object that JSON would have been read to. BYTES that are no text are base64, and say so in their parameters."""
    body: dict[str, Any] = {"inputs": [_input(tensor) for tensor in request.tensors]}
    if request.id:
        body["id"] = request.id
    if request.parameters:
        body["parameters"] = dict(request.parameters)
    if request.outputs:
        body["outputs"] = [{"name": name} for name in request.outputs]
    return body


def outputs_of(answer: bytes | bytearray | memoryview) -> list[Tensor]:
    """The tensors that a handler answered as JSON. Raises PersiaError."""
    try:
        return read_answer(answer)
    except InvalidInput as error:
        raise PersiaError(f"the handler's answer cannot be sent as tensors: {error}") from error


def _input(tensor: Tensor) -> dict[str, Any]:
    described: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
    try:
        return {**described, "data": elements_to_json(tensor)}
    except InvalidInput:
        texts = [base64.b64encode(element).decode() for element in tensor.array.flat]
        return {**described, "parameters": {"content_type": "base64"}, "data": texts}
