"""The dump of HugeCTR's embedding collections: `meta_data`, and for each table keys and rows behind heads of 128 bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from persia.errors import CorruptFile

from .arrays import keyed_table
from .raw_pairs import array_after
from .source import Source, SourceTable
from .stored import StoredArray

__all__ = ["collections_in", "open_source"]

META = "meta_data"
HEAD = 128
KEY_TYPES, ROW_TYPES = ("uint32", "int64"), ("float32", "float16")
KIND_KEYS, KIND_ROWS = 1, 2


def collections_in(path: Path) -> list[Path]:
    """The directories of collections in a dump, or the dump itself if it is that of one."""
    return [path] if (path / META).exists() else sorted(file.parent for file in path.glob(f"embedding_collection_*/{META}"))


def open_source(path: Path) -> Source:
    """Tables are named by their ids, such as `table_3`, after the collection's name if there are several collections."""
    collections = collections_in(path)
    tables: dict[str, SourceTable] = {}
    files: list[Path] = []
    for directory in collections:
        prefix = f"{directory.name}." if len(collections) > 1 else ""
        files += [directory / META, *sorted(directory.glob("key*")), *sorted(directory.glob("weight*"))]
        tables |= {f"{prefix}{name}": table for name, table in _tables(directory, prefix).items()}
    return Source(tuple(files), tables)


def _tables(directory: Path, prefix: str) -> dict[str, SourceTable]:
    meta = directory / META
    data = meta.read_bytes()
    if len(data) < 20:
        raise CorruptFile(str(meta), "a head of 20 bytes", f"{len(data)} bytes", len(data))
    count, key_type, row_type, _, _ = np.frombuffer(data, "<i4", 5).tolist()
    if count < 1 or len(data) != 20 + 16 * count:
        raise CorruptFile(
            str(meta), f"16 bytes for each of {count} tables after the head", f"{len(data) - 20}", min(len(data), 20)
        )
    if not (0 <= key_type < len(KEY_TYPES) and 0 <= row_type < len(ROW_TYPES)):
        raise CorruptFile(str(meta), "types of keys and rows from 0 to 1", f"{key_type} and {row_type}", 4)
    ids = np.frombuffer(data, "<i4", count, 20).tolist()
    rows = np.frombuffer(data, "<u8", count, 20 + 4 * count).tolist()
    dims = np.frombuffer(data, "<i4", count, 20 + 12 * count).tolist()
    tables = {}
    for place, (number, n, dim) in enumerate(zip(ids, rows, dims, strict=True)):
        if not 1 <= dim <= 65_535:
            raise CorruptFile(str(meta), f"a dim of table {number} from 1 to 65535", str(dim), 20 + 12 * count + 4 * place)
        keys = _array(directory / f"key{place}", KIND_KEYS, number, KEY_TYPES[key_type], n)
        values = _array(directory / f"weight{place}", KIND_ROWS, number, ROW_TYPES[row_type], n * dim)
        matrix = StoredArray(values.path, values.byte, values.dtype, (n, dim))
        tables[f"table_{number}"] = keyed_table(f"{prefix}table_{number}", [(keys, matrix)])
    return tables


def _array(path: Path, kind: int, table: int, dtype: str, count: int) -> StoredArray:
    """A dump of several nodes may leave holes between its rows, and is then longer than it should be."""
    if not path.exists():
        raise CorruptFile(str(path.parent / META), f"a file {path.name} of table {table}", "none: the dump is not complete", 0)
    with path.open("rb") as file:
        head = file.read(HEAD)
    if len(head) < HEAD or np.frombuffer(head, "<i4", 2).tolist() != [kind, table] or any(head[8:]):
        raise CorruptFile(str(path), f"a head of {HEAD} bytes with the kind {kind} and the table {table}", head[:8].hex(), 0)
    return array_after(path, HEAD, dtype, count)
