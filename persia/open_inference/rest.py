"""Requests and answers of the Open Inference Protocol over HTTP: JSON, behind which tensors may follow in binary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from persia.errors import InvalidInput

from .json_data import elements_to_json, tensor_of_json
from .tensors import Tensor, TensorRequest, raw_of, tensor_of_raw

__all__ = ["JSON_LENGTH", "RestAnswer", "RestRequest", "read_answer", "read_request"]

JSON_LENGTH = "Inference-Header-Content-Length"  # the header that says where the JSON ends
_BINARY_SIZE = "binary_data_size"
_BINARY = "binary_data"
_ALL_BINARY = "binary_data_output"


class _Data(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw(b"")


class _Wanted(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Request(msgspec.Struct):
    inputs: list[_Data]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Wanted] = []


class _Answer(msgspec.Struct):
    outputs: list[_Data]


class RestAnswer(NamedTuple):
    """What goes back."""

    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class RestRequest:
    """One that came, and how its answer is to be written."""

    request: TensorRequest
    binary: Mapping[str, bool]  # of outputs that say so themselves
    all_binary: bool

    def answer(self, model: str, version: str, outputs: Sequence[Tensor]) -> RestAnswer:
        """Raises InvalidInput for an output that cannot be written as it is asked for."""
        described: list[dict[str, Any]] = []
        raws: list[bytes | memoryview] = []
        for tensor in outputs:
            one: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
            if self.binary.get(tensor.name, self.all_binary):
                raws.append(raw_of(tensor))
                one["parameters"] = {_BINARY_SIZE: len(raws[-1])}
            else:
                one["data"] = elements_to_json(tensor)
            described.append(one)
        answer: dict[str, Any] = {"model_name": model, "model_version": version}
        if self.request.id:
            answer["id"] = self.request.id
        written = msgspec.json.encode({**answer, "outputs": described})
        if not raws:
            return RestAnswer({"content-type": "application/json"}, written)
        headers = {"content-type": "application/octet-stream", JSON_LENGTH: str(len(written))}
        return RestAnswer(headers, b"".join([written, *raws]))


_REQUEST_DECODER = msgspec.json.Decoder(_Request)


def read_request(body: bytes | bytearray | memoryview, json_length: str | None = None) -> RestRequest:
    """json_length: the header of that name. Raises InvalidInput."""
    view = memoryview(body)
    binary = memoryview(b"")
    if json_length is not None:
        if not (json_length.isascii() and json_length.isdigit() and len(json_length) < 19) or int(json_length) > len(view):
            raise InvalidInput(
                f"expected a number up to the {len(view)} bytes of the body as {JSON_LENGTH}, got {json_length[:40]!r}"
            )
        view, binary = view[: int(json_length)], view[int(json_length) :]
    try:
        read = _REQUEST_DECODER.decode(view)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"expected an inference request in JSON, with `inputs`: {error}") from None
    request = TensorRequest(
        _tensors(read.inputs, binary), tuple(wanted.name for wanted in read.outputs), read.parameters, read.id
    )
    wishes = {wanted.name: wanted.parameters[_BINARY] is True for wanted in read.outputs if _BINARY in wanted.parameters}
    return RestRequest(request, wishes, read.parameters.get(_ALL_BINARY) is True)


_ANSWER_DECODER = msgspec.json.Decoder(_Answer)


def read_answer(body: bytes | bytearray | memoryview) -> list[Tensor]:
    """The tensors of an answer without binary data. Raises InvalidInput."""
    try:
        return _tensors(_ANSWER_DECODER.decode(body).outputs, memoryview(b""))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"expected an inference response in JSON, with `outputs`: {error}") from None


def _tensors(described: Sequence[_Data], binary: memoryview) -> list[Tensor]:
    tensors = []
    at = 0
    for one in described:
        size = one.parameters.get(_BINARY_SIZE)
        if size is None:
            tensors.append(_of_json(one))
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - at:
            raise InvalidInput(
                f"the tensor {one.name!r}: expected up to the {len(binary) - at} bytes that are left behind the JSON as "
                f"{_BINARY_SIZE}, got {size}"
            )
        if bytes(one.data):
            raise InvalidInput(f"the tensor {one.name!r}: expected `data` or {_BINARY_SIZE}, got both")
        tensors.append(tensor_of_raw(one.name, one.datatype, one.shape, binary[at : at + size]))
        at += size
    if at != len(binary):
        raise InvalidInput(
            f"expected {at} bytes behind the JSON, as the tensors' {_BINARY_SIZE} say, got {len(binary)}"
            + (f": the header {JSON_LENGTH} says where the JSON ends" if at == 0 else "")
        )
    return tensors


def _of_json(one: _Data) -> Tensor:
    data = bytes(one.data)
    if not data:
        raise InvalidInput(f"the tensor {one.name!r}: expected its elements as `data`, or {_BINARY_SIZE}, got neither")
    return tensor_of_json(one.name, one.datatype, one.shape, data)
