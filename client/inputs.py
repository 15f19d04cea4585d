"""Byte batches for `infer`: random ones, ready ones from files, or made from columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
SCALARS = "dense"  # the tensor that columns of single numbers make


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
    NAME has any number, sample i those from offset i to i + 1. All others are dense tensors (n, ...), in their order.
    `.parquet`: a column of integers is a feature of one id, of lists of integers one of any number; columns of numbers with a
    fraction make one dense tensor (n, columns) named dense, those of lists one each. Raises InvalidInput, OSError.
    """
    if path.suffix == ".bin":
        yield path.read_bytes()
    elif path.suffix == ".npz":
        columns = read_npz(path)
        with _naming(path):
            yield from batches_of_columns(columns, batch_size)
    elif path.suffix == ".parquet":
        table = _parquet_table(path)
        with _naming(path):
            yield from batches_of_columns(_columns_of_table(table), batch_size)
    else:
        raise InvalidInput(f"expected a file that ends in .bin, .npz or .parquet, got {path}")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def batches_of_columns(columns: Mapping[str, _Array], batch_size: int) -> Iterator[bytes]:
    """Batches of up to batch_size samples of arrays as in .npz files."""
    for name, array in columns.items():
        if np.ndim(array) == 0:
            raise InvalidInput(f"expected an array of at least 1 dimension as {name!r}, got a single value")
    ids = {name: array for name, array in columns.items() if array.dtype == np.uint64 and not name.endswith(OFFSETS)}
    if not ids:
        raise InvalidInput(f"expected at least one uint64 array, the ids of a feature, got {_described(columns)}")
    offsets = dict(_checked_offsets(name, columns[name], ids) for name in columns if name.endswith(OFFSETS))
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


def _checked_offsets(name: str, offsets: _Array, ids: Mapping[str, _Array]) -> tuple[str, npt.NDArray[np.int64]]:
    """And the feature that they are of. Each id belongs to one sample: none is left out, none is there twice."""
    feature = name.removesuffix(OFFSETS)
    if feature not in ids:
        raise InvalidInput(f"expected a uint64 array {feature!r} for {name!r} to divide, got {_described(ids)}")
    if offsets.dtype.kind == "f" and np.all(np.abs(offsets) < 2**53) and np.array_equal(offsets, np.floor(offsets)):
        offsets = offsets.astype(np.int64)  # numpy makes floats of a 0 before the sums of unsigned lengths
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) == 0:
        raise InvalidInput(f"expected integers (samples + 1) as {name!r}, got {offsets.dtype} of shape {offsets.shape}")
    # Compared, not subtracted: unsigned differences are never negative.
    if descents := np.flatnonzero(offsets[1:] < offsets[:-1]).tolist():
        at = descents[0]
        raise InvalidInput(f"expected {name!r} not to descend, got {offsets[at]} and {offsets[at + 1]} at place {at}")
    if offsets[0] != 0 or offsets[-1] != len(ids[feature]):
        raise InvalidInput(
            f"expected {name!r} from 0 to {len(ids[feature])}, the number of ids, got {offsets[0]} to {offsets[-1]}"
        )
    return feature, offsets.astype(np.int64)


def _feature(
    name: str, array: _Array, offsets: npt.NDArray[np.int64] | None, begin: int, end: int
) -> IDTypeFeature | IDTypeFeatureWithSingleID:
    if offsets is not None:
        part = offsets[begin : end + 1]
        return IDTypeFeature(name, array[part[0] : part[-1]], part - part[0])
    return IDTypeFeatureWithSingleID(name, array[begin:end]) if array.ndim == 1 else IDTypeFeature(name, array[begin:end])


def _parquet_table(path: Path) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidInput("reading .parquet needs pyarrow: pip install 'persia-serve[parquet]'") from error

    with path.open("rb") as file:
        try:
            return pq.read_table(file)
        except pa.ArrowException as error:
            raise InvalidInput(f"expected a .parquet file, got {path}: {error}") from error


def _columns_of_table(table: Any) -> dict[str, _Array]:
    import pyarrow as pa

    columns: dict[str, _Array] = {}
    scalars: list[_Array] = []
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        kind = column.type
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        # Looked for in lists, too: numpy has no empty integers, so that a list with one would become floats.
        values = column.flatten() if is_list else column
        if empty := column.null_count + (values.null_count if is_list else 0):
            raise InvalidInput(f"expected no empty cells in column {name!r}, got {empty}")
        numbers = values.to_numpy(zero_copy_only=False)
        if numbers.dtype.kind not in "iuf":
            raise InvalidInput(f"expected integers or floats in column {name!r}, got {kind}")
        if numbers.dtype.kind == "f" and not is_list:
            scalars.append(_float32(name, numbers))
            continue
        if name.endswith(OFFSETS):
            raise InvalidInput(f"expected no column that ends in {OFFSETS!r}, as lists need none, got {name!r}")
        if numbers.dtype.kind == "f":
            columns[name] = _matrix(name, _float32(name, numbers), _list_lengths(column))
        else:
            columns[name] = _ids(name, numbers)
            if is_list:
                columns[name + OFFSETS] = np.concatenate([[0], np.cumsum(_list_lengths(column))])
    if scalars:
        if SCALARS in columns:
            raise InvalidInput(f"expected no column {SCALARS!r}: the tensor of all single numbers with a fraction is named so")
        columns[SCALARS] = np.stack(scalars, axis=1)
    return columns


def _list_lengths(column: Any) -> npt.NDArray[np.int64]:
    lengths: npt.NDArray[np.int64] = column.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _ids(name: str, numbers: _Array) -> _Array:
    if numbers.dtype.kind == "i" and len(numbers) and numbers.min() < 0:
        raise InvalidInput(f"expected ids from 0 in column {name!r}, got {numbers.min()}")
    return numbers.astype(np.uint64)


def _float32(name: str, numbers: _Array) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="raise"):
            return numbers.astype(np.float32)
    except FloatingPointError:
        largest = np.abs(numbers[np.isfinite(numbers)]).max()
        raise InvalidInput(f"expected numbers in column {name!r} that float32 can hold, got {largest}") from None


def _matrix(name: str, numbers: _Array, lengths: npt.NDArray[np.int64]) -> _Array:
    widths = np.unique(lengths)
    if len(widths) > 1:
        raise InvalidInput(f"expected lists of one length in column {name!r}, got {widths.tolist()}")
    return numbers.reshape(len(lengths), int(widths[0]) if len(widths) else 0)


def _described(columns: Mapping[str, _Array]) -> str:
    return ", ".join(f"{name} {array.dtype}" for name, array in columns.items()) or "no arrays"
