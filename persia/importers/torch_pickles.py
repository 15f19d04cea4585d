"""The pickles in torch's files, read without torch, and without running anything that a file names.

Tensors become descriptions of where their numbers lie. Whatever else is named becomes a Record, which knows only its name and
what it was made with.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from persia.errors import CorruptFile

from .numbers import FLOATS, INTEGERS

__all__ = ["Record", "Storage", "TensorView", "load_pickle"]

_STORAGES = {
    "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "DoubleStorage": "float64",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Storage:
    """`key` names the file in the archive; `count` numbers of `dtype` lie in it."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class TensorView:
    """A tensor: part of a storage, from the number `offset` on."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Record:
    """What stands for an object of a class that is not imported. A subclass for each name."""

    name: ClassVar[str] = ""

    def __init__(self, *made_with: Any) -> None:
        self.made_with = made_with
        self.state: Any = None

    def __new__(cls, *made_with: Any) -> Record:
        record = super().__new__(cls)
        record.made_with = made_with
        record.state = None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """What a list would do; nothing asks for its items."""

    def extend(self, items: Iterable[Any]) -> None:
        """As append."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """What a dict would do; nothing asks for its values."""

    def __getitem__(self, key: str) -> Any:
        """A field of the object's state. Raises KeyError."""
        if not isinstance(self.state, dict):
            raise KeyError(key)
        return self.state[key]


def load_pickle(data: bytes, path: Path, byte: int) -> Any:
    """The object in `data`, which begins at that byte of the file. Raises CorruptFile."""
    _check_operations(data, path, byte)
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # a pickle makes its objects call each other in any way: no other class would name them all
        raise CorruptFile(str(path), "a pickle as torch writes it", f"{type(error).__name__}: {error}", byte) from error


def _check_operations(data: bytes, path: Path, byte: int) -> None:
    """A memo with a huge number, of a bit that flipped, would take that much memory."""
    place = 0
    try:
        for operation, argument, position in pickletools.genops(data):
            place = position or 0
            if "PUT" in operation.name and isinstance(argument, int) and argument > len(data):
                raise ValueError(f"the memo {argument}")
    except (ValueError, UnicodeDecodeError) as error:
        raise CorruptFile(str(path), "a pickle as torch writes it", str(error), byte + place) from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and name in {**FLOATS, **INTEGERS}:
            return name
        if (module, name) == ("torch", "Size"):
            return tuple
        if module == "torch._utils" and name in _REBUILT:
            return _REBUILT[name]
        return type(name, (Record,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _device, count = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"expected a storage, got {pid!r}")
        return Storage(dtype if isinstance(dtype, str) else "bytes", str(key), int(count))


def _tensor(storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_rest: Any) -> TensorView:
    return TensorView(storage, offset, tuple(shape), tuple(stride))


def _tensor_of_bytes(
    storage: Storage,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    _grad: Any,
    _hooks: Any,
    dtype: Any,
    *_rest: Any,
) -> TensorView:
    """Of a type that has no storage of its own, such as the wider unsigned integers."""
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", str(dtype))
    return _tensor(Storage(name, storage.key, storage.count), offset, shape, stride)


def _parameter(data: Any, *_rest: Any) -> Any:
    return data


_REBUILT = {
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _tensor_of_bytes,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
}
