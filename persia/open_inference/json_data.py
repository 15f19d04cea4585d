"""The elements of a tensor in JSON: a list of all of them, or lists in lists as the shape says."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from persia.errors import InvalidInput

from .datatypes import BF16, BYTES, Datatype, datatype_of_name, to_bf16
from .tensors import MOST_DIMENSIONS, Tensor, bytes_array, check_shape

__all__ = ["elements_to_json", "tensor_of_json"]

_KINDS: dict[str, Any] = {"b": bool, "i": int, "u": int, "f": float | None, "O": str}


def tensor_of_json(name: str, datatype: str, shape: Sequence[int], data: bytes) -> Tensor:
    """data: JSON. A `null` among numbers with a fraction is NaN. Raises InvalidInput."""
    kind = datatype_of_name(datatype, name)
    depth = _depth_of(data)
    if depth > MOST_DIMENSIONS:
        raise InvalidInput(f"the tensor {name!r}: expected lists in at most {MOST_DIMENSIONS} levels as its data, got {depth}")
    try:
        elements = msgspec.json.decode(data, type=_list_type(_kind_of(kind), depth))
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the tensor {name!r}: its data is no {datatype}: {error}") from None
    if depth > 1:
        elements = _flat(name, shape, elements, depth)
    check_shape(name, shape, len(elements))
    return Tensor(name, datatype, _array(name, kind, elements).reshape(shape))


def elements_to_json(tensor: Tensor) -> list[Any]:
    """All elements in one list. Numbers that are not finite become `null` when it is written. Raises InvalidInput."""
    if tensor.datatype != BYTES:
        flat: list[Any] = tensor.values.reshape(-1).tolist()
        return flat
    try:
        return [element.decode() for element in tensor.array.flat]
    except UnicodeDecodeError:
        raise InvalidInput(
            f"the output {tensor.name!r} has bytes that are no text, which JSON cannot hold: ask for binary data"
        ) from None


def _depth_of(data: bytes) -> int:
    """In how many lists the first element is."""
    depth = 0
    for byte in data:
        if byte == ord("["):
            depth += 1
        elif byte not in b" \t\r\n":
            break
    return max(1, depth)


def _kind_of(kind: Datatype) -> str:
    return "f" if kind.name == BF16 else kind.dtype.kind


@functools.lru_cache(maxsize=256)
def _list_type(kind: str, depth: int) -> Any:
    if depth > 64:
        raise InvalidInput(f"expected at most 64 lists in each other, got {depth}")
    made: Any = _KINDS[kind]
    for _ in range(depth):
        made = list[made]
    return made


def _flat(name: str, shape: Sequence[int], elements: list[Any], depth: int) -> list[Any]:
    """The elements of lists in lists, which are as long as the shape says. Raises InvalidInput."""
    expected = f"the tensor {name!r}: expected all elements in one list, or lists as the shape {list(shape)} has them"
    if depth != len(shape):
        raise InvalidInput(f"{expected}, got {depth} lists in each other")
    level = [elements]
    for size in shape:
        if wrong := [one for one in level if len(one) != size]:
            raise InvalidInput(f"{expected}, got one of {len(wrong[0])} where it has {size}")
        level = [inner for one in level for inner in one]
    return level


def _array(name: str, kind: Datatype, elements: list[Any]) -> npt.NDArray[Any]:
    if kind.name == BYTES:
        return bytes_array([element.encode() for element in elements], (len(elements),))
    if _kind_of(kind) == "f":
        return _floats(name, kind, elements)
    if kind.dtype.kind == "b":
        return np.array(elements, bool)
    limits = np.iinfo(kind.dtype)
    if elements and (min(elements) < limits.min or max(elements) > limits.max):
        wrong = next(element for element in elements if not limits.min <= element <= limits.max)
        raise InvalidInput(
            f"the tensor {name!r}: expected numbers from {limits.min} to {limits.max}, as {kind.name} has them, "
            f"got {str(wrong)[:40]}"
        )
    return np.array(elements, kind.dtype)


def _floats(name: str, kind: Datatype, elements: list[Any]) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):
        array = np.array(elements, np.float32 if kind.name == BF16 else kind.dtype)
    if np.isinf(array).any():  # JSON has no infinity
        wrong = elements[int(np.argmax(np.isinf(array)))]
        raise InvalidInput(f"the tensor {name!r}: expected numbers that {kind.name} can hold, got {wrong}")
    return to_bf16(array) if kind.name == BF16 else array
