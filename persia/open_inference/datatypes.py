"""The datatypes of the Open Inference Protocol, and what numpy has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from persia.errors import InvalidInput

__all__ = ["BF16", "BYTES", "DATATYPES", "FP16", "Datatype", "datatype_of_dtype", "datatype_of_name", "from_bf16", "to_bf16"]

BYTES = "BYTES"
FP16 = "FP16"
BF16 = "BF16"


class Datatype(NamedTuple):
    """One of them. An array of BYTES has objects, which are `bytes`; one of BF16 has the bits of its numbers as uint16."""

    name: str
    dtype: np.dtype[Any]
    contents: int  # the field of InferTensorContents that has its elements; 0: it can only be sent raw
    contents_dtype: np.dtype[Any]  # of what that field has


def _datatypes() -> dict[str, Datatype]:
    numbers = {
        "BOOL": ("bool", 1, "bool"),
        "INT8": ("int8", 2, "int32"),
        "INT16": ("int16", 2, "int32"),
        "INT32": ("int32", 2, "int32"),
        "INT64": ("int64", 3, "int64"),
        "UINT8": ("uint8", 4, "uint32"),
        "UINT16": ("uint16", 4, "uint32"),
        "UINT32": ("uint32", 4, "uint32"),
        "UINT64": ("uint64", 5, "uint64"),
        FP16: ("float16", 0, "float16"),
        BF16: ("uint16", 0, "uint16"),
        "FP32": ("float32", 6, "float32"),
        "FP64": ("float64", 7, "float64"),
        BYTES: ("object", 8, "object"),
    }
    return {name: Datatype(name, np.dtype(own), field, np.dtype(sent)) for name, (own, field, sent) in numbers.items()}


DATATYPES: Mapping[str, Datatype] = _datatypes()
_OF_DTYPES = {datatype.dtype: name for name, datatype in DATATYPES.items() if name != BF16}


def datatype_of_name(name: str, tensor: str) -> Datatype:
    """Raises InvalidInput. tensor: whose datatype it is, for the message."""
    try:
        return DATATYPES[name]
    except KeyError:
        raise InvalidInput(f"the tensor {tensor!r}: expected one of {', '.join(DATATYPES)} as datatype, got {name!r}") from None


def datatype_of_dtype(dtype: np.dtype[Any], tensor: str) -> Datatype:
    """Raises InvalidInput for a dtype that the protocol has nothing for, such as complex numbers."""
    if dtype.kind in "SU":
        return DATATYPES[BYTES]
    name = _OF_DTYPES.get(dtype.newbyteorder("="))
    if name is None:
        raise InvalidInput(f"the tensor {tensor!r}: expected a dtype that the Open Inference Protocol has, got {dtype}")
    return DATATYPES[name]


def from_bf16(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """The same numbers."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bf16(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The bits of the nearest numbers of BF16, of two the even one."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    rounded = ((bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(numbers), np.uint16(0x7FC0), rounded)
