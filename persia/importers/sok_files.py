"""The dump of NVIDIA's SparseOperationKit (its second form): `meta_info`, and for each table keys and rows behind heads."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from persia.errors import CorruptFile

from .arrays import keyed_table
from .numbers import FLOATS
from .raw_pairs import array_after
from .source import Source, SourceTable
from .stored import StoredArray

__all__ = ["META", "open_source"]

META = "meta_info"
NAME, OPTIMIZER = 256, 32  # bytes of names, which stand at their right end
MAX_NAME = 240  # a file has it with more behind it, and a file system takes 255 bytes
HEAD = NAME + 4 + OPTIMIZER + 4
TYPES = ("int32", "int64", "uint32", "uint64", "float16", "float32", "float64")
KIND_KEYS, KIND_ROWS = 0, 1
_UNDERSCORED = str.maketrans(dict.fromkeys(string.punctuation, "_"))


@dataclass(frozen=True)
class _Described:
    """A table as `meta_info` describes it."""

    name: str
    key_type: int
    row_type: int
    dim: int
    rows: int


def open_source(path: Path) -> Source:
    """Tables have the names that the dump gives them. Raises CorruptFile, OSError."""
    described = _read_meta(path / META)
    tables = {table.name: _table(path, table) for table in described}
    files = [_file(path, table.name, part) for table in described for part in ("key", "weight")]
    return Source((path / META, *files), tables)


def _read_meta(path: Path) -> list[_Described]:
    data = path.read_bytes()
    count = int.from_bytes(data[:4], "big")
    if len(data) != 4 + (12 + 8 + NAME + OPTIMIZER) * count or not count:
        expected = f"{12 + 8 + NAME + OPTIMIZER} bytes for each of {count} tables after the first 4"
        raise CorruptFile(str(path), expected, f"{len(data)} bytes", min(4, len(data)))
    key_types, row_types, dims = np.frombuffer(data, ">u4", 3 * count, 4).reshape(3, count).tolist()
    rows = np.frombuffer(data, ">u8", count, 4 + 12 * count).tolist()
    names = [data[4 + 20 * count + NAME * i :][:NAME] for i in range(count)]
    described = []
    for i, (raw, key_type, row_type, dim, n) in enumerate(zip(names, key_types, row_types, dims, rows, strict=True)):
        if not (key_type < 4 and row_type < len(TYPES) and TYPES[row_type] in FLOATS and 1 <= dim <= 65_535):
            got = f"{key_type}, {row_type} and {dim}"
            raise CorruptFile(str(path), "a type of keys, a type of floats, and a dim from 1 to 65535", got, 4 + 4 * i)
        described.append(_Described(_text(path, raw, 4 + 20 * count + NAME * i), key_type, row_type, dim, n))
    return described


def _text(path: Path, raw: bytes, byte: int) -> str:
    try:
        name = raw.decode().strip(" \0")
        if not 1 <= len(name.encode()) <= MAX_NAME:
            raise CorruptFile(str(path), f"a name of 1 to {MAX_NAME} bytes", f"{len(name)}", byte)
        return name
    except UnicodeDecodeError as error:
        raise CorruptFile(str(path), "a name in UTF-8", repr(raw.strip(b" \0")[:40]), byte + error.start) from error


def _table(path: Path, table: _Described) -> SourceTable:
    keys = _array(_file(path, table.name, "key"), table, KIND_KEYS, table.key_type, table.rows)
    rows = _array(_file(path, table.name, "weight"), table, KIND_ROWS, table.row_type, table.rows * table.dim)
    return keyed_table(table.name, [(keys, StoredArray(rows.path, rows.byte, rows.dtype, (table.rows, table.dim)))])


def _file(path: Path, name: str, part: str) -> Path:
    return path / f"{name.translate(_UNDERSCORED)}-{part}"


def _array(path: Path, table: _Described, kind: int, dtype: int, count: int) -> StoredArray:
    if not path.exists():
        raise CorruptFile(str(path.parent / META), f"a file {path.name} of `{table.name}`", "none: the dump is not complete", 0)
    with path.open("rb") as file:
        head = file.read(HEAD)
    if len(head) < HEAD:
        raise CorruptFile(str(path), f"a head of {HEAD} bytes", f"{len(head)}", len(head))
    found = int.from_bytes(head[NAME : NAME + 4], "big"), int.from_bytes(head[-4:], "big")
    if _text(path, head[:NAME], 0) != table.name or found != (kind, dtype):
        expected = f"a head of `{table.name}` with the kind {kind} and the type {dtype}"
        raise CorruptFile(str(path), expected, f"`{_text(path, head[:NAME], 0)}`, {found[0]} and {found[1]}", 0)
    return array_after(path, HEAD, TYPES[dtype], count)
