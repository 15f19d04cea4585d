"""Predictions of a model with named tensors: bodies of the Open Inference Protocol's JSON, or of KServe's before it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from persia.dense.named.model import NamedModel
from persia.errors import InvalidInput, PersiaError
from persia.open_inference.datatypes import BYTES
from persia.open_inference.json_data import elements_to_json, tensor_of_json
from persia.open_inference.rest import read_request
from persia.open_inference.tensors import Tensor, TensorSpec
from persia.torchserve.scores import BODY

__all__ = ["answer_to_body"]

_INSTANCES = "instances"
_KINDS = {bool: "BOOL", int: "INT64", float: "FP32", str: BYTES}


def answer_to_body(inputs: Mapping[str, Any], model: NamedModel, name: str, version: str) -> bytes | PersiaError:
    """inputs: what TorchServe gives for a request. name, version: of the model. The error is that of this request alone."""
    try:
        body = inputs.get(BODY)
        if isinstance(body, (bytes, bytearray)):
            body = msgspec.json.decode(body)
        if not isinstance(body, dict) or not ({_INSTANCES, "inputs"} & body.keys()):
            raise InvalidInput("expected a JSON object with `inputs` or `instances` as the body")
        if _INSTANCES in body:
            rows = body[_INSTANCES]
            return _predictions(model(_columns(rows, model.metadata.inputs)), len(rows), model.metadata.outputs)
        asked = read_request(msgspec.json.encode(body))
        return asked.answer(name, version, asked.request.chosen(model(asked.request.tensors))).body
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return InvalidInput(f"expected JSON as the body: {error}")
    except PersiaError as error:
        return error


def _columns(instances: Any, specs: Sequence[TensorSpec]) -> list[Tensor]:
    """The tensors of rows. A row is what the lone tensor has for it, or an object with that of each tensor."""
    if not isinstance(instances, list) or not instances:
        raise InvalidInput(f"expected a list of at least one row as `{_INSTANCES}`")
    known = {spec.name: spec for spec in specs}
    if not isinstance(instances[0], dict) or "b64" in instances[0]:
        if len(specs) != 1:
            raise InvalidInput(f"expected rows that are objects, with {', '.join(known)}, got others")
        return [_tensor(specs[0], instances)]
    names = instances[0].keys()
    for i, row in enumerate(instances):
        if not isinstance(row, dict) or row.keys() != names:
            raise InvalidInput(f"expected an object with {', '.join(names)} as row {i}, as the first one is")
    return [_tensor(known.get(name, TensorSpec(name)), [row[name] for row in instances]) for name in names]


def _tensor(spec: TensorSpec, rows: list[Any]) -> Tensor:
    rows = [_decoded(spec.name, row) for row in rows]
    if any(isinstance(row, bytes) for row in rows):
        return Tensor.of(spec.name, np.array(rows, object))
    shape, first = _shape_of(rows)
    datatype = spec.datatype or _KINDS.get(type(first), "FP32")
    return tensor_of_json(spec.name, datatype, shape, msgspec.json.encode(rows))


def _decoded(name: str, row: Any) -> Any:
    if not (isinstance(row, dict) and row.keys() == {"b64"}):
        return row
    try:
        return base64.b64decode(row["b64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InvalidInput(f"the tensor {name!r}: expected base64 as `b64`: {error}") from None


def _shape_of(rows: list[Any]) -> tuple[list[int], Any]:
    """The shape of lists in lists by the first ones, and the first element."""
    shape = []
    one: Any = rows
    while isinstance(one, list):
        shape.append(len(one))
        one = one[0] if one else 0.0
    return shape, one


def _predictions(outputs: Sequence[Tensor], rows: int, specs: Sequence[TensorSpec]) -> bytes:
    """Of a lone output its rows; of several an object with that of each for each row, if all of them have rows."""
    columns = {tensor.name: _nested(elements_to_json(tensor), tensor.shape) for tensor in outputs}
    if len(columns) == 1:
        return msgspec.json.encode({"predictions": next(iter(columns.values()))})
    fixed = {spec.name for spec in specs if spec.shape is not None and spec.shape[:1] != (-1,)}
    if any(tensor.shape[:1] != (rows,) or tensor.name in fixed for tensor in outputs):
        return msgspec.json.encode({"predictions": columns})
    by_row = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return msgspec.json.encode({"predictions": by_row})


def _nested(elements: list[Any], shape: Sequence[int]) -> Any:
    """Lists in lists, as the shape says."""
    if not shape:
        return elements[0]
    for size in reversed(shape[1:]):
        elements = [elements[i : i + size] for i in range(0, len(elements), size)] if size else [[]] * shape[0]
    return elements
