"""Arrays of numbers in jsonpickle's text, of numpy and of torch, from the bytes in it and back."""

from __future__ import annotations

import base64
import math
import re
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from persia.errors import InvalidInput

from .allowance import Allowance
from .torch_storage import storage_of

__all__ = [
    "NUMPY_ARRAY",
    "NUMPY_SCALAR",
    "TORCH_STORAGE",
    "TORCH_TENSOR",
    "bytes_of_base64",
    "numpy_array",
    "numpy_array_of_list",
    "numpy_array_of_zlib",
    "numpy_dtype",
    "numpy_view",
    "torch_tensor",
]

# As numpy 1 and numpy 2 call them.
NUMPY_ARRAY = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
NUMPY_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
TORCH_TENSOR = "torch._utils._rebuild_tensor_v2"
TORCH_STORAGE = "torch.storage._load_from_bytes"

# Far beyond any array, and far below where numpy's and torch's own numbers overflow.
FAR = 1 << 48
MAX_DIMENSIONS = 32


def bytes_of_base64(text: str) -> bytes:
    """Raises InvalidInput."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidInput(f"expected base 64, got {text[:40]!r}: {error}") from error


def numpy_dtype(code: str, order: Any = "=") -> np.dtype[Any]:
    """Of numbers only: numpy's other types can hold objects, or have names in them. Raises InvalidInput."""
    numbers = re.fullmatch(r"[biufc](1|2|4|8|16)|bool|u?int(8|16|32|64)|float(16|32|64)|complex(64|128)", code)
    if numbers and order in ("<", ">", "=", "|"):
        try:
            return np.dtype(code).newbyteorder(order)
        except TypeError:
            pass
    raise InvalidInput(f"expected an array of numbers, got numpy's dtype {order}{code[:40]}")


def numpy_array(dtype: Any, shape: list[Any], fortran: bool, data: str) -> npt.NDArray[Any]:
    """Raises InvalidInput."""
    if not isinstance(dtype, np.dtype):
        raise InvalidInput(f"expected numpy's dtype beside an array, got {type(dtype).__name__}")
    return _shaped(bytes_of_base64(data), dtype, shape, "F" if fortran else "C")


def numpy_array_of_list(values: Any, dtype: str) -> npt.NDArray[Any]:
    """Raises InvalidInput."""
    try:
        array = np.array(values)
        if array.dtype.kind not in "biufc":
            raise ValueError(f"{str(values)[:40]} are no numbers")
        return array.astype(numpy_dtype(dtype))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"expected an array of {dtype[:40]}: {error}") from error


def numpy_array_of_zlib(data: str, dtype: str, order: Any, shape: list[Any], allowance: Allowance) -> npt.NDArray[Any]:
    """Raises InvalidInput; TooLarge before it is unpacked."""
    kind = numpy_dtype(dtype, order)
    size = _count(shape) * kind.itemsize
    allowance.use(array_bytes=size)
    try:
        values = zlib.decompressobj().decompress(bytes_of_base64(data), size + 1)
    except zlib.error as error:
        raise InvalidInput(f"expected an array that zlib packed: {error}") from error
    return _shaped(values, kind, shape, "C")


def numpy_view(base: Any, dtype: np.dtype[Any], shape: list[Any], strides: Any, offset: Any) -> npt.NDArray[Any]:
    """A copy of what a view shows of the array that it is a part of. Raises InvalidInput.

    numpy itself would let an offset below 0 and steps that overflow show memory of others.
    """
    if not isinstance(base, np.ndarray) or (count := _count(shape)) * dtype.itemsize > base.nbytes:
        raise InvalidInput("expected an array that has the values of its view")
    steps = _steps_in_a_row(shape, dtype.itemsize) if strides is None else strides
    first, last = _reach(shape, steps, offset)
    if not 0 <= offset <= base.nbytes or (count > 0 and (first < 0 or last + dtype.itemsize > base.nbytes)):
        raise InvalidInput(
            f"expected a view of bytes in its array, which has {base.nbytes}, got bytes {first} to {last + dtype.itemsize}"
        )
    # Only the array says in which order the bytes of a number stand.
    kind = base.dtype if base.dtype.newbyteorder("=") == dtype.newbyteorder("=") else dtype
    return np.ndarray(tuple(shape), kind, base.tobytes(), offset, tuple(steps)).copy() if count else np.empty(shape, kind)


def torch_tensor(data: str, offset: int, size: list[Any], stride: list[Any]) -> torch.Tensor:
    """A copy of the part of a storage that a tensor shows. Raises InvalidInput."""
    values = storage_of(bytes_of_base64(data))
    count = _count(size)
    _, last = _reach(size, stride, offset)
    if min(offset, *stride, 0) < 0:
        raise InvalidInput(f"expected a tensor whose values follow one another, got strides {stride} from {offset}")
    if count > 0 and (last >= values.numel() or count > values.numel()):
        raise InvalidInput(f"expected a tensor of its own values, got {count} values up to number {last} of {values.numel()}")
    return values.as_strided(size, stride, offset).clone() if count > 0 else values.new_empty(size)


def _shaped(data: bytes, dtype: np.dtype[Any], shape: list[Any], order: Any) -> npt.NDArray[Any]:
    if len(data) != (size := _count(shape) * dtype.itemsize):
        raise InvalidInput(f"expected {size} bytes for an array of shape {shape}, got {len(data)}")
    return np.frombuffer(data, dtype).reshape(shape, order=order).copy()


def _count(shape: list[Any]) -> int:
    """Of values in an array of this shape."""
    if (
        len(shape) > MAX_DIMENSIONS
        or not all(type(length) is int and length >= 0 for length in shape)
        # Also of an empty array: numpy and torch multiply the other lengths.
        or math.prod(max(length, 1) for length in shape) >= FAR
    ):
        raise InvalidInput(f"expected the shape of an array, got {str(shape)[:80]}")
    return math.prod(shape)


def _reach(shape: list[int], steps: Any, offset: Any) -> tuple[int, int]:
    """The lowest and the highest place at which a view that begins at the offset has values."""
    if not isinstance(steps, list) or len(steps) != len(shape):
        raise InvalidInput(f"expected a stride for each of {len(shape)} dimensions, got {str(steps)[:80]}")
    if not all(type(number) is int and -FAR < number < FAR for number in (offset, *steps)):
        raise InvalidInput(f"expected whole numbers as offset and strides, got {str(offset)[:40]} and {str(steps)[:80]}")
    ways = [max(length - 1, 0) * step for length, step in zip(shape, steps, strict=True)]
    return offset + sum(way for way in ways if way < 0), offset + sum(way for way in ways if way > 0)


def _steps_in_a_row(shape: list[int], itemsize: int) -> list[int]:
    """The strides of an array whose values lie one after the other."""
    return [itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
