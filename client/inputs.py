"""Byte batches for `infer`: random ones, ready ones from files, or made from columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, NonIDTypeFeature, PersiaBatch
from persia.columns import column_of
from persia.errors import InvalidInput
from persia.frames import columns_of_frame, parts_of
from persia.ids import as_ids
from persia.npz import read_npz

from .text_tables import Reading, Table, choice_of, read_csv, read_jsonl

__all__ = [
    "TABLES",
    "Inputs",
    "RandomShape",
    "Reading",
    "batches_of_columns",
    "batches_of_file",
    "random_batches",
    "read_inputs",
]

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


@dataclass(frozen=True)
class Inputs:
    """What a file holds: byte batches, and the keys of all samples by their columns."""

    batches: Iterator[bytes]
    keys: Mapping[str, Sequence[Any]]


def batches_of_file(path: Path, batch_size: int) -> Iterator[bytes]:
    """The batches of read_inputs, for which nothing is left open."""
    return read_inputs(path, batch_size).batches


def read_inputs(path: Path, batch_size: int, reading: Reading = Reading()) -> Inputs:  # noqa: B008
    """Reads a file as byte batches. A `.bin` is one batch as it is; other files give batches of up to batch_size samples.

    `.npz`: an array (n,) of uint64 or strings is a feature with one id for each sample, and an array (n, k) is a feature with
    k ids. If there is an array NAME.offsets (n + 1), sample i of the feature NAME has the ids from offset i to offset i + 1.
    Other integers are ids if they have offsets, or if the reading says so. All other arrays are dense tensors (n, ...), in
    their order.
    `.parquet`, `.csv`, `.jsonl`: a column of integers or strings is a feature with one id for each sample, and a column of
    lists of them is a feature with any number of ids. The columns of numbers with a fraction make one dense tensor
    (n, columns) named dense, and each column of lists of such numbers makes one of its own, unless the reading names the
    tensors.
    Raises InvalidInput and OSError. What is wrong with a batch is raised when the batch is read.
    """
    if path.suffix == ".bin":
        if reading.keys:
            raise InvalidInput(f"expected a file with columns for the key {reading.keys[0]!r}, got {path}")
        return Inputs(iter([path.read_bytes()]), {})
    if path.suffix == ".npz":
        if reading.tensors:
            tensor = next(iter(reading.tensors))
            raise InvalidInput(f"expected an array {tensor!r} in {path}, got columns for it: each array of an .npz is a tensor")
        columns = read_npz(path)
        with _naming(path):
            keys = {name: _key(name, columns) for name in reading.keys}
            rest = {name: array for name, array in columns.items() if name not in keys}
        return Inputs(_named(path, batches_of_columns(rest, batch_size, reading)), keys)
    if path.suffix not in TABLES:
        raise InvalidInput(f"expected a file that ends in .bin, {', '.join(['.npz', *TABLES])}, got {path}")
    with _naming(path):
        table = TABLES[path.suffix](path, reading)
        missing = [name for name in reading.keys if name not in table.keys]
        if missing:
            raise InvalidInput(f"expected a column {missing[0]!r}, got {', '.join(map(repr, table.columns)) or 'none'}")
    return Inputs(_named(path, _batches_of_table(table, batch_size)), table.keys)


def _key(name: str, columns: Mapping[str, _Array]) -> list[Any]:
    if name not in columns:
        raise InvalidInput(f"expected an array {name!r}, got {_described(columns)}")
    if columns[name].ndim != 1:
        raise InvalidInput(f"expected 1 dimension in the key {name!r}, got {columns[name].ndim}")
    keys: list[Any] = columns[name].tolist()
    return keys


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except InvalidInput as error:
        message = str(error)
        raise (error if message.startswith(str(path)) else InvalidInput(f"{path}: {message}")) from error


def _named(path: Path, batches: Iterator[bytes]) -> Iterator[bytes]:
    with _naming(path):
        yield from batches


def _batches_of_table(table: Table, batch_size: int) -> Iterator[bytes]:
    parts = parts_of(table.columns, table.choice)
    if parts.samples == 0:
        raise InvalidInput("expected at least one sample, got none")
    for begin in range(0, parts.samples, batch_size):
        yield parts.batch(PersiaBatch, begin, min(begin + batch_size, parts.samples)).to_bytes()


def batches_of_columns(
    columns: Mapping[str, _Array],
    batch_size: int,
    reading: Reading = Reading(),  # noqa: B008
) -> Iterator[bytes]:
    """Batches of up to batch_size samples of arrays as in .npz files."""
    for name, array in columns.items():
        if np.ndim(array) == 0:
            raise InvalidInput(f"expected an array of at least 1 dimension as {name!r}, got a single value")
    for name in (*reading.features, *reading.dense):
        if name not in columns:
            raise InvalidInput(f"expected an array {name!r}, got {_described(columns)}")
    ids = {name: _ids(name, array) for name, array in columns.items() if _is_feature(name, columns, reading)}
    if not ids:
        raise InvalidInput(
            f"expected at least one array of ids, of uint64 or strings, got {_described(columns)}; "
            "other integers are ids where --feature names them, or NAME.offsets stands beside them"
        )
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


def _is_feature(name: str, columns: Mapping[str, _Array], reading: Reading) -> bool:
    if name.endswith(OFFSETS) or name in reading.dense:
        return False
    array = columns[name]
    integers = array.dtype.kind in "iu" and name + OFFSETS in columns
    return name in reading.features or array.dtype == np.uint64 or array.dtype.kind in "UT" or integers


def _ids(name: str, array: _Array) -> npt.NDArray[np.uint64]:
    column = column_of(name, array)
    return as_ids(name, column).reshape(array.shape)


def _checked_offsets(name: str, offsets: _Array, ids: Mapping[str, _Array]) -> tuple[str, npt.NDArray[np.int64]]:
    """And the feature that they are of. Each id belongs to one sample: none is left out, none is there twice."""
    feature = name.removesuffix(OFFSETS)
    if feature not in ids:
        raise InvalidInput(f"expected an array of ids {feature!r} for {name!r} to divide, got {_described(ids)}")
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


def _parquet(path: Path, reading: Reading) -> Table:
    table = _parquet_table(path)
    for name in table.column_names:
        if name.endswith(OFFSETS):
            raise InvalidInput(f"expected no column that ends in {OFFSETS!r}, as lists need none, got {name!r}")
    keys = {name: table.column(name).to_pylist() for name in reading.keys if name in table.column_names}
    return Table(columns_of_frame(table), choice_of(reading), keys)


TABLES = {".parquet": _parquet, ".csv": read_csv, ".jsonl": read_jsonl}


def _described(columns: Mapping[str, _Array]) -> str:
    return ", ".join(f"{name} {array.dtype}" for name, array in columns.items()) or "no arrays"
