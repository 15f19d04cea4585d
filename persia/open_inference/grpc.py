"""Requests and answers of the Open Inference Protocol over gRPC: ModelInferRequest and ModelInferResponse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from persia._core.inference import read_infer_request, write_infer_response
from persia.errors import InvalidInput

from .datatypes import BYTES, DATATYPES, Datatype, datatype_of_name
from .tensors import Tensor, TensorRequest, bytes_array, check_shape, raw_of, tensor_of_raw

__all__ = ["GrpcRequest", "read_request"]


@dataclass(frozen=True)
class GrpcRequest:
    """One that came, and how its answer is to be written: raw tensors for who sent some, typed contents for others."""

    request: TensorRequest
    raw: bool

    def answer(self, model: str, version: str, outputs: Sequence[Tensor]) -> bytes:
        """A ModelInferResponse. Where typed contents have no field for one of the tensors, all go raw."""
        raw = self.raw or any(DATATYPES[tensor.datatype].contents == 0 for tensor in outputs)
        written = [_written(tensor, raw) for tensor in outputs]
        raws = [raw_of(tensor) for tensor in outputs] if raw else []
        return write_infer_response(model, version, self.request.id, written, raws)


def read_request(body: bytes | bytearray | memoryview) -> GrpcRequest:
    """Raw tensors lie in the body. Raises InvalidInput."""
    _, _, request_id, parameters, inputs, outputs, raws = read_infer_request(body)
    view = memoryview(body)
    if raws and len(raws) != len(inputs):
        raise InvalidInput(
            f"expected an entry of raw_input_contents for each of the {len(inputs)} inputs, or none at all, got {len(raws)}"
        )
    tensors = []
    for i, (name, datatype, shape, _, field, elements) in enumerate(inputs):
        if not raws:
            tensors.append(_tensor_of_contents(name, datatype, shape, field, elements))
            continue
        if field:
            raise InvalidInput(f"the tensor {name!r}: expected raw_input_contents or contents, got both")
        begin, size = raws[i]
        tensors.append(tensor_of_raw(name, datatype, shape, view[begin : begin + size]))
    request = TensorRequest(tensors, tuple(name for name, _ in outputs), parameters, request_id)
    return GrpcRequest(request, bool(raws))


def _tensor_of_contents(name: str, datatype: str, shape: Sequence[int], field: int, elements: Any) -> Tensor:
    kind = datatype_of_name(datatype, name)
    if not kind.contents:
        raise InvalidInput(f"the tensor {name!r}: expected {datatype} in raw_input_contents, which alone can hold it")
    if field not in (0, kind.contents):
        raise InvalidInput(f"the tensor {name!r}: expected the contents of {datatype}, got those of another datatype")
    if field == 0:  # proto3 sends no list that is empty
        check_shape(name, shape, 0)
        return Tensor(name, datatype, np.empty(tuple(shape), kind.dtype))
    if datatype == BYTES:
        check_shape(name, shape, len(elements))
        return Tensor(name, datatype, bytes_array(elements, shape))
    array = _narrowed(name, kind, np.frombuffer(elements, kind.contents_dtype))
    check_shape(name, shape, len(array))
    return Tensor(name, datatype, array.reshape(shape))


def _narrowed(name: str, kind: Datatype, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype == kind.dtype:
        return array
    narrow = array.astype(kind.dtype)
    if not np.array_equal(narrow, array):
        wrong = array[np.argmax(narrow != array)]
        raise InvalidInput(f"the tensor {name!r}: expected numbers that {kind.name} can hold, got {wrong}")
    return narrow


def _written(tensor: Tensor, raw: bool) -> tuple[str, str, tuple[int, ...], int, Any]:
    kind = DATATYPES[tensor.datatype]
    if raw:
        return tensor.name, tensor.datatype, tensor.shape, 0, b""
    if tensor.datatype == BYTES:
        return tensor.name, tensor.datatype, tensor.shape, kind.contents, list(tensor.array.flat)
    elements = np.ascontiguousarray(tensor.array, kind.contents_dtype).tobytes()
    return tensor.name, tensor.datatype, tensor.shape, kind.contents, elements
