"""Files of safetensors, read without that package: a length, a header in JSON, and tensors one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from persia.errors import CorruptFile, InvalidInput

from .keyed_tensors import ids_beside, reason_against, table_of
from .numbers import is_float
from .quantized import unpacked_table
from .source import Source, SourceTable
from .stored import StoredArray, read_exactly
from .table_names import looks_like_a_table

__all__ = ["open_source"]

MAX_HEADER = 100_000_000  # the format's own limit
INDEX = "model.safetensors.index.json"
# The format's names of types. Those that are not here (of 8 bits and less) are no tables of ours.
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16",
    "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def open_source(path: Path) -> Source:
    """A file, or a directory of them, in which an index may say which have to be there. Raises CorruptFile, OSError."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise InvalidInput(f"expected a file of safetensors, or a directory of them, got {path}, which has none")
    tensors: dict[str, StoredArray] = {}
    others: dict[str, str] = {}
    for file in files:
        for name, tensor in _read(file, others).items():
            if name in tensors:
                raise CorruptFile(str(file), f"no tensor that is in {tensors[name].path.name} already", f"`{name}`", 0)
            tensors[name] = tensor
    if path.is_dir() and (path / INDEX).exists():
        _check_index(path / INDEX, tensors, others)
    described = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    tables: dict[str, SourceTable] = {}
    packed: dict[str, Callable[[Any, int], SourceTable]] = {}
    for name, tensor in tensors.items():
        if len(tensor.shape) == 2 and tensor.dtype == "uint8":
            packed[name] = partial(unpacked_table, name, tensor)
        elif len(tensor.shape) != 2 or not is_float(tensor.dtype) or not tensor.shape[1]:
            others[name] = f"it is {tensor.shape} of {tensor.dtype}, and a table is (rows, dim) of floats"
        elif (ids := ids_beside(name, described)) is None:
            tables[name] = table_of(name, tensor, None, guess=looks_like_a_table(name, tensors))
        elif reason := reason_against(ids, described, tensor.shape[0]):
            others[name] = reason
        else:
            tables[name] = table_of(name, tensor, tensors[ids], guess=True)
    return Source(tuple(files), tables, others, packed)


def _read(path: Path, others: dict[str, str]) -> dict[str, StoredArray]:
    with path.open("rb") as file:
        length = int.from_bytes(read_exactly(file, path, 8), "little")
        size = path.stat().st_size
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise CorruptFile(str(path), f"the length of a header within {size} bytes", str(length), 0)
        header = read_exactly(file, path, length)
    try:
        found: dict[str, Any] = msgspec.json.decode(header, type=dict[str, Any])
        found.pop("__metadata__", None)
        entries = msgspec.convert(found, dict[str, _Tensor])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptFile(str(path), "a header of safetensors in JSON", str(error), 8) from error
    start, tensors, end = 8 + length, {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, after = entry.data_offsets
        if begin != end or after < begin or min(entry.shape, default=0) < 0:
            raise CorruptFile(
                str(path), f"`{name}` at byte {start + end}, where the tensor before it ends", f"{begin} to {after}", 8
            )
        end = after
        if entry.dtype not in DTYPES:
            others[name] = f"its numbers are {entry.dtype}"
            continue
        tensor = StoredArray(path, start + begin, DTYPES[entry.dtype], entry.shape or (1,))
        if tensor.bytes != after - begin:
            raise CorruptFile(str(path), f"{tensor.bytes} bytes of `{name}`", f"{after - begin}", 8)
        if entry.shape:
            tensors[name] = tensor
        else:
            others[name] = f"it is one number of {tensor.dtype}"
    if start + end != size:
        raise CorruptFile(str(path), f"{start + end} bytes, by the header", f"{size} bytes", min(start + end, size))
    return tensors


def _check_index(path: Path, tensors: dict[str, StoredArray], others: dict[str, str]) -> None:
    """Raises CorruptFile if a tensor that the index names is missing: half a source."""
    try:
        names = msgspec.convert(msgspec.json.decode(path.read_bytes()), dict[str, Any]).get("weight_map", {})
        wanted = msgspec.convert(names, dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptFile(str(path), "an index of safetensors in JSON", str(error), 0) from error
    for name, file in wanted.items():
        if name not in tensors and name not in others:
            raise CorruptFile(str(path), f"`{name}` in {file}", "no such tensor: the source is not complete", 0)
