"""Embedding tables of every form as blocks of ids and rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from persia.columns import column_of
from persia.errors import ExportError, InvalidInput
from persia.ids import ids_of
from persia.signature import IdKind

__all__ = ["F32", "U64", "Table", "kind_of", "table_of_arrays", "table_of_mapping", "table_of_module", "table_of_parquet"]

U64: TypeAlias = npt.NDArray[np.uint64]
F32: TypeAlias = npt.NDArray[np.float32]

# Rows that are copied at a time: a table may take most of the memory.
BLOCK = 1 << 18
F16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class Table:
    """`name` is for messages: the first feature that uses the table. `blocks` gives ids (n) and rows (n, dim), any times.

    `ids`: what the ids are where they come from.
    """

    name: str
    dim: int
    blocks: Callable[[], Iterator[tuple[U64, F32]]]
    ids: IdKind


def table_of_module(name: str, module: torch.nn.Module, ids: Any = None) -> Table:
    """The weights of an nn.Embedding or nn.EmbeddingBag. Raises ExportError."""
    weight: torch.Tensor = module.weight.detach()  # type: ignore[operator]
    count, dim = weight.shape
    numbers = np.arange(count, dtype=np.uint64) if ids is None else _ids(name, ids)
    if len(numbers) != count:
        raise ExportError(f"feature `{name}`: the table has {count} rows, and `ids` has {len(numbers)}: give one id a row")
    padding: int | None = module.padding_idx  # type: ignore[assignment]
    if padding is not None and isinstance(module, torch.nn.Embedding) and bool(weight[padding].any()):
        raise ExportError(
            f"feature `{name}`: row {padding} of the table is the padding, and is not zero; places without an id are served as "
            "zeros: set the row to zero"
        )
    max_norm: float | None = module.max_norm  # type: ignore[assignment]
    norm_type: float = module.norm_type  # type: ignore[assignment]

    def blocks() -> Iterator[tuple[U64, F32]]:
        for begin in range(0, count, BLOCK):
            end = min(begin + BLOCK, count)
            rows = weight[begin:end].float()
            if max_norm is not None:  # the module does this to a row when the row is looked up
                norms = rows.norm(norm_type, 1, keepdim=True)
                rows = torch.where(norms > max_norm, rows * (max_norm / (norms + 1e-7)), rows)
            kept = np.arange(begin, end) != (-1 if padding is None else padding)
            yield numbers[begin:end][kept], rows.cpu().numpy()[kept]

    return Table(name, dim, _checked(name, blocks), "integer" if ids is None else _kind_of_rows(name, ids))


def table_of_arrays(name: str, ids: Any, rows: Any) -> Table:
    """Ids (n) and rows (n, dim). Raises ExportError."""
    numbers, vectors = _ids(name, ids), _rows(name, rows)
    if len(numbers) != len(vectors):
        raise ExportError(f"feature `{name}`: expected one row for each of {len(numbers)} ids, got {len(vectors)}")

    def blocks() -> Iterator[tuple[U64, F32]]:
        for begin in range(0, len(numbers), BLOCK):
            yield numbers[begin : begin + BLOCK], vectors[begin : begin + BLOCK]

    return Table(name, vectors.shape[1], _checked(name, blocks), _kind_of_rows(name, ids))


def table_of_mapping(name: str, rows: Mapping[Any, Any]) -> Table:
    """A mapping of id to row. Raises ExportError."""
    if not rows:
        raise ExportError(f"feature `{name}`: the table has no rows")
    return table_of_arrays(name, list(rows), [np.asarray(row) for row in rows.values()])


def table_of_parquet(name: str, path: Path) -> Table:
    """A file of two columns: ids (integers or strings) and vectors (lists of floats). Raises ExportError, OSError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ExportError(f"reading {path} needs pyarrow: pip install 'persia-serve[parquet]'") from error
    try:
        schema = pq.read_schema(path)
    except pa.ArrowInvalid as error:
        raise ExportError(f"feature `{name}`: expected a parquet file, got {path}: {error}") from error
    vectors = [field.name for field in schema if _is_list(pa, field.type)]
    others = [field.name for field in schema if not _is_list(pa, field.type)]
    if len(vectors) != 1 or len(others) != 1:
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise ExportError(
            f"feature `{name}`: expected a column of ids and a column of vectors (lists of floats) in {path}, got {columns}"
        )

    def blocks() -> Iterator[tuple[U64, F32]]:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BLOCK, columns=[*others, *vectors]):
                if not batch.num_rows:
                    continue
                column = batch.column(vectors[0])
                if column.null_count or column.flatten().null_count:
                    raise ExportError(f"feature `{name}`: the column {vectors[0]} of {path} has missing values")
                flat = column.flatten().to_numpy(zero_copy_only=False)
                dims = np.unique(column.value_lengths().to_numpy(zero_copy_only=False)) if len(column) else [0]
                if len(dims) != 1 or len(flat) != dims[0] * len(column):
                    raise ExportError(
                        f"feature `{name}`: expected vectors of one length in {path}, got {dims[0]} and {dims[-1]}"
                    )
                yield _ids(name, batch.column(others[0])), _rows(name, flat.reshape(len(column), -1))

    first = next(blocks(), None)
    if first is None:
        raise ExportError(f"feature `{name}`: the table {path} has no rows")
    kind = schema.field(others[0]).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return Table(name, first[1].shape[1], _checked(name, blocks), "integer" if pa.types.is_integer(kind) else "text")


def _is_list(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def kind_of(name: str, ids: Any) -> IdKind:
    """Of ids in any form, also in samples. Raises FeatureError."""
    return "text" if column_of(name, ids).text else "integer"


def _kind_of_rows(name: str, ids: Any) -> IdKind:
    """By the first of them where that is possible, for there may be many. REQUIRES: they are of one kind."""
    return kind_of(name, ids[:1] if hasattr(ids, "__getitem__") else ids)


def _ids(name: str, ids: Any) -> U64:
    try:
        return ids_of(name, ids)
    except InvalidInput as error:
        raise ExportError(f"the ids of a table's rows: {error}") from error


def _rows(name: str, rows: Any) -> F32:
    if isinstance(rows, torch.Tensor):
        rows = rows.detach().cpu().float()
    try:
        array = np.asarray(rows)
    except ValueError as error:  # rows of several lengths
        raise ExportError(f"feature `{name}`: expected rows of one length: {error}") from None
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        raise ExportError(f"feature `{name}`: expected rows (n, dim) of numbers, got {array.shape} of {array.dtype}")
    return np.ascontiguousarray(array, np.float32)


def _checked(name: str, blocks: Callable[[], Iterator[tuple[U64, F32]]]) -> Callable[[], Iterator[tuple[U64, F32]]]:
    """The same blocks. Raises ExportError at a row that is not finite, beyond f16, or of another dim than the first."""

    def checked() -> Iterator[tuple[U64, F32]]:
        dim = None
        for ids, rows in blocks():
            if rows.shape[1] != (dim := dim or rows.shape[1]):
                raise ExportError(f"feature `{name}`: expected rows of one length, got {dim} and {rows.shape[1]} numbers")
            wrong = ~np.isfinite(rows).all(1)
            if wrong.any():
                raise ExportError(f"feature `{name}`: the row of id {ids[wrong][0]} has NaN or infinity")
            largest = np.abs(rows).max(1)
            if (beyond := largest > F16_MAX).any():
                raise ExportError(
                    f"feature `{name}`: the row of id {ids[beyond][0]} has embeddings up to {largest[beyond][0]:.6g}, and f16, "
                    f"in which they are served, holds at most {F16_MAX:.0f}: scale the table, and its use in the dense half"
                )
            yield ids, rows

    return checked
