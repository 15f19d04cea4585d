"""Files of parquet: a column of integers, and a column of vectors or a column for each of their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from persia.errors import CorruptFile, InvalidInput, NotFound

from .numbers import conversion_of, floats_of, ids_of_integers
from .source import F32, Block, Source, SourceTable, rows_of_block

__all__ = ["open_source"]


class _Columns(NamedTuple):
    """`vectors` is one column of lists, or the columns of numbers, in their order. `dtype` is the widest of them."""

    ids: str
    vectors: tuple[str, ...]
    in_lists: bool
    dim: int
    dtype: str


def open_source(path: Path) -> Source:
    """A file, a directory of the files of a table, or one with such a directory for each table.

    Raises CorruptFile, InvalidInput, OSError; NotFound without pyarrow.
    """
    _pyarrow()
    if path.is_file():
        found = {path.stem: [path]}
    else:
        directories = [path] if any(path.glob("*.parquet")) else sorted({file.parent for file in path.glob("*/*.parquet")})
        found = {directory.resolve().name: sorted(directory.glob("*.parquet")) for directory in directories}
        for directory in directories:
            if (directory / "_temporary").exists():  # where Spark writes what it has not committed
                raise CorruptFile(str(directory), "a table whose writer has finished", "one with a directory _temporary", 0)
    if not found:
        raise InvalidInput(f"expected files of parquet in {path}, or in directories of it, one for each table; there are none")
    tables = {name: _table(name, files) for name, files in found.items()}
    return Source(tuple(file for files in found.values() for file in files), tables)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise NotFound("reading parquet needs pyarrow: pip install 'persia-serve[parquet]'") from error
    return pyarrow


def _table(name: str, files: list[Path]) -> SourceTable:
    opened = [_open(file) for file in files]
    columns = [_columns(file, parquet) for file, parquet in zip(files, opened, strict=True)]
    counts = [parquet.metadata.num_rows for parquet in opened]
    for parquet in opened:
        parquet.close()
    for file, found in zip(files, columns, strict=True):
        if found != columns[0]:
            raise InvalidInput(f"expected the columns of {files[0].name} in {file}: {columns[0]}, got {found}")

    def blocks() -> Iterator[Block]:
        for file in files:
            yield from _blocks(file, columns[0])

    return SourceTable(name, sum(counts), columns[0].dim, "keys", blocks, conversion_of(columns[0].dtype))


def _open(path: Path) -> Any:
    with _refusing(path, "a file of parquet"):
        return _pyarrow().parquet.ParquetFile(path)


@contextmanager
def _refusing(path: Path, expected: str) -> Iterator[None]:
    """What pyarrow does not take is a CorruptFile. It says nothing of the byte."""
    try:
        yield
    except (_pyarrow().ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorruptFile(str(path), expected, (str(error) or type(error).__name__).splitlines()[0], 0) from error


def _columns(path: Path, parquet: Any) -> _Columns:
    types = _pyarrow().types
    schema = parquet.schema_arrow
    ids = [field.name for field in schema if types.is_integer(field.type)]
    lists = [field for field in schema if _is_list(types, field.type)]
    numbers = [field.name for field in schema if types.is_floating(field.type)]
    if len(ids) == 1 and len(lists) == 1 and not numbers:
        dim = _dim_of_first(path, parquet, lists[0].name)
        return _Columns(ids[0], (lists[0].name,), True, dim, _widest([lists[0].type.value_type]))
    if len(ids) == 1 and numbers and not lists:
        dtype = _widest([schema.field(name).type for name in numbers])
        return _Columns(ids[0], _in_order(numbers), False, len(numbers), dtype)
    found = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise InvalidInput(
        f"{path}: expected one column of integers, and one column of lists of floats or a column for each number, got {found}"
    )


def _in_order(names: list[str]) -> tuple[str, ...]:
    """By the numbers in names that differ in these alone, such as `d2` and `d10`; else as they stand in the file."""
    forms = [re.fullmatch(r"(.*?)(\d{1,9})", name, re.DOTALL) for name in names]
    numbers = {int(form[2]): name for form, name in zip(forms, names, strict=True) if form}
    alike = len({form[1] for form in forms if form}) == 1
    return tuple(numbers[number] for number in sorted(numbers)) if alike and len(numbers) == len(names) else tuple(names)


def _is_list(types: Any, kind: Any) -> bool:
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and types.is_floating(kind.value_type))


def _widest(types: list[Any]) -> str:
    return str(np.result_type(*(kind.to_pandas_dtype() for kind in types)))


def _dim_of_first(path: Path, parquet: Any, name: str) -> int:
    """Of the first row: the others have to be as long."""
    kind = parquet.schema_arrow.field(name).type
    if _pyarrow().types.is_fixed_size_list(kind):
        return int(kind.list_size)
    with _refusing(path, "rows of parquet"):
        batch = next(parquet.iter_batches(1, columns=[name]), None)
    if batch is None or not batch.num_rows or not batch.column(0).is_valid()[0].as_py() or not len(batch.column(0)[0]):
        raise InvalidInput(f"{path}: expected a vector in the first row of the column {name}, got none")
    return len(batch.column(0)[0])


def _blocks(path: Path, columns: _Columns) -> Iterator[Block]:
    row = 0
    with _refusing(path, "rows of parquet"), closing(_open(path)) as parquet:
        for batch in parquet.iter_batches(rows_of_block(4 * columns.dim), columns=[columns.ids, *columns.vectors]):
            for column, name in zip(batch.columns, batch.schema.names, strict=True):
                if column.null_count:
                    raise InvalidInput(f"{path}: expected no empty cells in the column {name}, got some in rows from {row} on")
            ids = ids_of_integers(batch.column(columns.ids).to_numpy(zero_copy_only=False))
            yield ids, _vectors(path, batch, columns, row)
            row += batch.num_rows


def _vectors(path: Path, batch: Any, columns: _Columns, row: int) -> F32:
    if not columns.in_lists:
        arrays = [batch.column(name).to_numpy(zero_copy_only=False) for name in columns.vectors]
        return floats_of(np.stack(arrays, axis=1), columns.dtype)
    column = batch.column(columns.vectors[0])
    flat = column.flatten()
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    if lengths.tolist() != [columns.dim] or flat.null_count:
        got = "empty cells" if flat.null_count else f"{lengths.min()} to {lengths.max()}"
        raise InvalidInput(f"{path}: expected vectors of {columns.dim} numbers, got {got} in rows from {row} on")
    return floats_of(flat.to_numpy(zero_copy_only=False).reshape(-1, columns.dim), columns.dtype)
