"""Tensors by name, with the datatypes of the Open Inference Protocol, and what a model says of those that it takes."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from persia.errors import InvalidInput

from .datatypes import BF16, BYTES, DATATYPES, datatype_of_dtype, datatype_of_name, from_bf16

__all__ = [
    "MOST_DIMENSIONS",
    "ModelMetadata",
    "Tensor",
    "TensorRequest",
    "TensorSpec",
    "bytes_array",
    "check_shape",
    "raw_of",
    "shown",
    "tensor_of_raw",
]

MOST_DIMENSIONS = 32  # as many as every numpy has
_MOST_ELEMENTS = 2**40
_SHOWN = 80  # characters of a shape

_LENGTH = struct.Struct("<I")  # before each element of BYTES


@dataclass(frozen=True, eq=False)
class Tensor:
    """An array with its name. The arrays of BYTES and of BF16 are as `Datatype` says."""

    name: str
    datatype: str
    array: npt.NDArray[Any]

    @classmethod
    def of(cls, name: str, array: npt.NDArray[Any]) -> Tensor:
        """With the datatype of an array of numbers, `bytes` or text. Raises InvalidInput."""
        datatype = datatype_of_dtype(array.dtype, name)
        if datatype.name == BYTES and (array.dtype.kind != "O" or not all(isinstance(one, bytes) for one in array.flat)):
            texts = [one.encode() if isinstance(one, str) else bytes(one) for one in array.flat]
            array = bytes_array(texts, array.shape)
        return cls(name, datatype.name, array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def values(self) -> npt.NDArray[Any]:
        """An array that numpy can calculate with: of BF16 as float32."""
        return from_bf16(self.array) if self.datatype == BF16 else self.array

    def __repr__(self) -> str:
        return f"Tensor({shown(self.name, self.datatype, self.shape)})"


class TensorSpec(NamedTuple):
    """What is known of a tensor that a model takes or answers. -1 in a shape stands for any size."""

    name: str
    datatype: str = ""  # empty: it is not known
    shape: tuple[int, ...] | None = None  # None: it is not known
    optional: bool = False

    def __str__(self) -> str:
        return shown(self.name, self.datatype, self.shape)

    def check(self, tensor: Tensor) -> None:
        """Raises InvalidInput where the tensor is another one than this."""
        if self.datatype and tensor.datatype != self.datatype:
            raise InvalidInput(f"the tensor {self.name!r}: expected {self.datatype}, got {tensor.datatype}")
        if self.shape is None:
            return
        fits = len(self.shape) == len(tensor.shape) and all(
            expected in (-1, size) for expected, size in zip(self.shape, tensor.shape, strict=True)
        )
        if not fits:
            raise InvalidInput(
                f"the tensor {self.name!r}: expected the shape {list(self.shape)}, got {list(tensor.shape)}"
                + (", where -1 stands for any size" if -1 in self.shape else "")
            )


@dataclass(frozen=True)
class ModelMetadata:
    """What a model says of itself. platform: such as `pytorch_torchscript`."""

    platform: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def check(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The tensors of a request by name. Raises InvalidInput: names the tensor, what was expected and what came."""
        specs = {spec.name: spec for spec in self.inputs}
        given = by_name(tensors)
        expected = f"expected {_listed(map(str, self.inputs))}, got {_listed(map(repr, given))}"
        for name, tensor in given.items():
            if name not in specs:
                raise InvalidInput(f"the model takes no tensor {name!r}: {expected}")
            specs[name].check(tensor)
        for name, spec in specs.items():
            if name not in given and not spec.optional:
                raise InvalidInput(f"the tensor {name!r} is missing: {expected}")
        return given


@dataclass(frozen=True)
class TensorRequest:
    """What a caller asks a model for."""

    tensors: Sequence[Tensor]
    outputs: tuple[str, ...] = ()  # the names of those that it wants; empty: all
    parameters: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    def chosen(self, outputs: Iterable[Tensor]) -> list[Tensor]:
        """Those of a model's outputs that the caller wants, in its order. Raises InvalidInput for one that there is not."""
        named = by_name(outputs)
        for name in self.outputs:
            if name not in named:
                raise InvalidInput(f"the model has no output {name!r}, expected one of {_listed(map(repr, named))}")
        return [named[name] for name in self.outputs or named]


def by_name(tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Raises InvalidInput where one has no name, or the name of another one."""
    named: dict[str, Tensor] = {}
    for tensor in tensors:
        if not tensor.name:
            raise InvalidInput(f"expected a name for each tensor, got none for number {len(named)}")
        if tensor.name in named:
            raise InvalidInput(f"the tensor {tensor.name!r}: expected it once, got it twice")
        named[tensor.name] = tensor
    return named


def shown(name: str, datatype: str, shape: Sequence[int] | None) -> str:
    """For messages: `'x' FP32 [-1, 4]`."""
    return " ".join(part for part in (repr(name), datatype, "" if shape is None else str(list(shape))) if part)


def bytes_array(elements: Sequence[bytes], shape: Sequence[int]) -> npt.NDArray[Any]:
    """The array of a tensor of BYTES."""
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)


def check_shape(name: str, shape: Sequence[int], elements: int) -> None:
    """Raises InvalidInput where a shape is none, or has another number of elements."""
    if any(size < 0 for size in shape):
        raise InvalidInput(f"the tensor {name!r}: expected a shape of numbers from 0 on, got {list(shape)}")
    if len(shape) > MOST_DIMENSIONS or math.prod(max(size, 1) for size in shape) > _MOST_ELEMENTS:
        raise InvalidInput(
            f"the tensor {name!r}: expected a shape of at most {MOST_DIMENSIONS} sizes, with up to {_MOST_ELEMENTS} elements, "
            f"got {len(shape)} sizes: {str(list(shape))[:_SHOWN]}"
        )
    if math.prod(shape) != elements:
        raise InvalidInput(
            f"the tensor {name!r}: expected {math.prod(shape)} elements, as the shape {list(shape)} has, got {elements}"
        )


def tensor_of_raw(name: str, datatype: str, shape: Sequence[int], raw: memoryview) -> Tensor:
    """A tensor of numbers lies where its bytes lie: little-endian, row after row. Raises InvalidInput."""
    kind = datatype_of_name(datatype, name)
    if datatype == BYTES:
        elements = _elements_of_raw(name, raw)
        check_shape(name, shape, len(elements))
        return Tensor(name, datatype, bytes_array(elements, shape))
    check_shape(name, shape, math.prod(shape))
    expected = math.prod(shape) * kind.dtype.itemsize
    if len(raw) != expected:
        raise InvalidInput(f"{shown(name, datatype, shape)}: expected {expected} bytes of the tensor, got {len(raw)}")
    array = np.frombuffer(raw, kind.dtype).reshape(shape)
    return Tensor(name, datatype, array if array.flags.aligned else array.copy())


def raw_of(tensor: Tensor) -> bytes | memoryview:
    """The bytes of a tensor, as tensor_of_raw() reads them."""
    if tensor.datatype == BYTES:
        return b"".join(part for element in tensor.array.flat for part in (_LENGTH.pack(len(element)), element))
    if tensor.array.size == 0:
        return b""
    array = np.ascontiguousarray(tensor.array, DATATYPES[tensor.datatype].dtype.newbyteorder("<"))
    return array.reshape(-1).view(np.uint8).data


def _elements_of_raw(name: str, raw: memoryview) -> list[bytes]:
    elements = []
    at = 0
    while at < len(raw):
        begin = at + _LENGTH.size
        at = begin + _LENGTH.unpack_from(raw, at)[0] if begin <= len(raw) else begin
        if at > len(raw):
            raise InvalidInput(
                f"the tensor {name!r}: expected elements of BYTES with their lengths before them, got one that ends "
                f"{at - len(raw)} bytes behind the tensor"
            )
        elements.append(bytes(raw[begin:at]))
    return elements


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words) or "none"
