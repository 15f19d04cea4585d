"""Tables that are arrays in files: rows by number, or by keys that lie in an array of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .numbers import conversion_of, floats_of, ids_of_integers
from .source import Block, SourceTable, rows_of_block
from .stored import StoredArray

__all__ = ["keyed_table", "numbered_table"]


def numbered_table(name: str, *arrays: StoredArray, guess: bool = True) -> SourceTable:
    """A table whose ids are the numbers of its rows, in one array or several. REQUIRES: all are (n, dim) of the same floats."""
    first = arrays[0]

    def blocks() -> Iterator[Block]:
        begin = 0
        for array in arrays:
            for part in array.parts(rows_of_block(array.row_bytes)):
                yield np.arange(begin, begin + len(part), dtype=np.uint64), floats_of(part, array.dtype)
                begin += len(part)

    count = sum(array.shape[0] for array in arrays)
    return SourceTable(name, count, first.shape[1], "rows", blocks, conversion_of(first.dtype), guess)


def keyed_table(name: str, parts: list[tuple[StoredArray, StoredArray]]) -> SourceTable:
    """A table of keys (n) and rows (n, dim), in one part or several. REQUIRES: all rows are floats of one type and dim."""
    first = parts[0][1]

    def blocks() -> Iterator[Block]:
        for keys, rows in parts:
            size = rows_of_block(rows.row_bytes)
            for some_keys, some_rows in zip(keys.parts(size), rows.parts(size), strict=True):
                yield ids_of_integers(some_keys), floats_of(some_rows, rows.dtype)

    count = sum(keys.shape[0] for keys, _ in parts)
    return SourceTable(name, count, first.shape[1], "keys", blocks, conversion_of(first.dtype))
