"""Byte batches for `infer`: random ones, ready ones from files, or made from columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, NonIDTypeFeature, PersiaBatch
from persia.errors import InvalidInput
from persia.npz import read_npz

__all__ = ["RandomShape", "batches_of_columns", "batches_of_file", "random_batches"]

_Array = npt.NDArray[Any]
OFFSETS = ".offsets"


@dataclass(frozen=True)
class RandomShape:
    """features named feature1, feature2, ..., each with ids out of [0, rows); one dense tensor (batch_size, dense), or none."""

    batch_size: int = 128
    features: int = 26
    ids: int = 16
    rows: int = 1_000_000
    dense: int = 13
    prefix: str = "feature"


def random_batches(shape: RandomShape, count: int, seed: int | None = None) -> Iterator[bytes]:
    """Count batches; the same ones for the same seed."""
    generator = np.random.default_rng(seed)
    size = (shape.batch_size, shape.ids)
    for _ in range(count):
        features = [
            IDTypeFeature(f"{shape.prefix}{i + 1}", generator.integers(0, shape.rows, size, np.uint64))
            for i in range(shape.features)
        ]
        dense = [NonIDTypeFeature(generator.random((shape.batch_size, shape.dense), np.float32))] if shape.dense else []
        yield PersiaBatch(features, dense, requires_grad=False).to_bytes()


def batches_of_file(path: Path, batch_size: int) -> Iterator[bytes]:
    """Of a `.bin` the bytes as they are; of `.npz` and `.parquet` batches of up to batch_size of its samples.

    `.npz`: a uint64 array (n,) is a feature of one id per sample, (n, k) one of k ids; with another array NAME.offsets (n + 1)
    NAME has any number. All others are dense tensors (n, ...), in their order. `.parquet`: a column of integers is a feature of
    one id, of lists of integers one of any number; columns of numbers with a fraction make one dense tensor (n, columns), those
    of lists one each. Raises InvalidInput, OSError.
    """
    if path.suffix == ".bin":
        yield path.read_bytes()
    elif path.suffix == ".npz":
        yield from batches_of_columns(read_npz(path), batch_size)
    elif path.suffix == ".parquet":
        yield from batches_of_columns(_parquet_columns(path), batch_size)
    else:
        raise InvalidInput(f"expected a file that ends in .bin, .npz or .parquet, got {path}")


def batches_of_columns(columns: Mapping[str, _Array], batch_size: int) -> Iterator[bytes]:
    """Batches of up to batch_size samples of arrays as in .npz files."""
    ids = {name: array for name, array in columns.items() if array.dtype == np.uint64 and not name.endswith(OFFSETS)}
    if not ids:
        raise InvalidInput(f"expected at least one uint64 array, the ids of a feature, got {_described(columns)}")
    offsets = {name: columns[name + OFFSETS].astype(np.int64) for name in ids if name + OFFSETS in columns}
    dense = {name: array for name, array in columns.items() if name not in ids and not name.endswith(OFFSETS)}
    lengths = {name: len(offsets[name]) - 1 if name in offsets else len(array) for name, array in {**ids, **dense}.items()}
    if len(set(lengths.values())) != 1:
        raise InvalidInput(f"expected the same number of samples everywhere, got {lengths}")
    samples = next(iter(lengths.values()))
    if samples == 0:
        raise InvalidInput("expected at least one sample, got none")
    for begin in range(0, samples, batch_size):
        end = min(begin + batch_size, samples)
        features = [_feature(name, array, offsets.get(name), begin, end) for name, array in ids.items()]
        tensors = [NonIDTypeFeature(array[begin:end], name) for name, array in dense.items()]
        yield PersiaBatch(features, tensors, requires_grad=False).to_bytes()


def _feature(
    name: str, array: _Array, offsets: npt.NDArray[np.int64] | None, begin: int, end: int
) -> IDTypeFeature | IDTypeFeatureWithSingleID:
    if offsets is not None:
        part = offsets[begin : end + 1]
        return IDTypeFeature(name, array[part[0] : part[-1]], part - part[0])
    return IDTypeFeatureWithSingleID(name, array[begin:end]) if array.ndim == 1 else IDTypeFeature(name, array[begin:end])


def _parquet_columns(path: Path) -> dict[str, _Array]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidInput("reading .parquet needs pyarrow: pip install 'persia-serve[parquet]'") from error

    columns: dict[str, _Array] = {}
    scalars: list[_Array] = []
    with path.open("rb") as file:
        try:
            table = pq.read_table(file)
        except pa.ArrowException as error:
            raise InvalidInput(f"expected a .parquet file, got {path}: {error}") from error
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        kind = column.type
        if column.null_count:
            raise InvalidInput(f"{path}: expected no empty cells in column {name!r}, got {column.null_count}")
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        values = column.flatten() if is_list else column
        numbers = values.to_numpy(zero_copy_only=False)
        if numbers.dtype.kind in "iu":
            columns[name] = _ids(name, numbers)
            if is_list:
                columns[name + OFFSETS] = np.concatenate([[0], np.cumsum(_list_lengths(column))])
        elif numbers.dtype.kind != "f":
            raise InvalidInput(f"{path}: expected integers or floats in column {name!r}, got {kind}")
        elif is_list:
            columns[name] = _matrix(name, numbers, _list_lengths(column)).astype(np.float32)
        else:
            scalars.append(numbers.astype(np.float32))
    if scalars:
        columns["dense"] = np.stack(scalars, axis=1)
    return columns


def _list_lengths(column: Any) -> npt.NDArray[np.int64]:
    lengths: npt.NDArray[np.int64] = column.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _ids(name: str, numbers: _Array) -> _Array:
    if numbers.dtype.kind == "i" and len(numbers) and numbers.min() < 0:
        raise InvalidInput(f"expected ids from 0 in column {name!r}, got {numbers.min()}")
    return numbers.astype(np.uint64)


def _matrix(name: str, numbers: _Array, lengths: Sequence[int] | npt.NDArray[np.int64]) -> _Array:
    if len(set(lengths)) > 1:
        raise InvalidInput(f"expected lists of one length in column {name!r}, got {sorted(set(map(int, lengths)))}")
    return numbers.reshape(len(lengths), -1)


def _described(columns: Mapping[str, _Array]) -> str:
    return ", ".join(f"{name} {array.dtype}" for name, array in columns.items()) or "no arrays"
