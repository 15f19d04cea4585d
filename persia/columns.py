"""Columns as people have them: lists, numpy arrays, torch tensors, and the columns of pandas, polars and Arrow.

A column becomes numbers in one array, and where its samples begin if each has any number of them. Strings become the numbers
that they hash to (docs/ids.md). Nothing here imports what it reads: an object's own methods suffice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.errors import FeatureError, InvalidInput

__all__ = ["KINDS", "Column", "column_of"]

_Array = npt.NDArray[Any]
_Offsets = npt.NDArray[np.int64]

# Who reads a column need not know yet what it is. Floats are refused as ids: see as_ids.
KINDS = "integers or strings (of dense inputs also floats)"


@dataclass(frozen=True, eq=False)
class Column:
    """`values` (n) are the numbers of all samples; sample i has those from offsets[i] to offsets[i + 1], without offsets one.

    `text`: the values are hashes of strings. `first_float`: among integers and floats, the place of the first float.
    """

    values: _Array
    offsets: _Offsets | None = None
    text: bool = False
    first_float: int = 0

    @property
    def samples(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def sample_of(self, place: int) -> int:
        """Whose value stands at this place among all values."""
        return place if self.offsets is None else int(np.searchsorted(self.offsets, place, "right")) - 1

    def cut(self, begin: int, end: int) -> Column:
        """The samples from begin to end."""
        if self.offsets is None:
            return Column(self.values[begin:end], None, self.text)
        offsets = self.offsets[begin : end + 1]
        return Column(self.values[offsets[0] : offsets[-1]], offsets - offsets[0], self.text)


def column_of(name: str, data: Any) -> Column:
    """The column that some object is. name: for errors. Raises FeatureError for empty cells, and what is no column."""
    if isinstance(data, np.ndarray):
        return _of_array(name, data)
    if isinstance(data, (list, tuple)):
        return _of_list(name, list(data))
    library = type(data).__module__.partition(".")[0]
    if library in _READERS:
        return _READERS[library](name, data)
    if hasattr(data, "__array__"):
        return _of_array(name, _numpy_of(name, data))
    if hasattr(data, "__iter__") and not isinstance(data, (str, bytes, dict)):
        return _of_list(name, list(data))
    raise FeatureError(name, f"expected a list, an array or a column, got {_called(type(data))}")


def _called(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def _numpy_of(name: str, data: Any) -> _Array:
    try:
        return np.asarray(data)
    except (TypeError, RuntimeError, ValueError) as error:  # of a torch tensor on a GPU, or one that needs gradients
        raise FeatureError(name, f"expected what numpy can take, got {_called(type(data))}: {error}") from None


# numpy


def _of_array(name: str, array: _Array) -> Column:
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise FeatureError(name, "expected no masked numbers, got some")
    if array.ndim == 1:
        return _of_flat(name, array)
    if array.ndim != 2:
        raise FeatureError(name, f"expected 1 or 2 dimensions, (batch) or (batch, ids), got {array.ndim}")
    samples, width = array.shape
    offsets = np.arange(samples + 1, dtype=np.int64) * width
    flat = _of_flat(name, array.reshape(-1), lambda place: place // width)
    if flat.offsets is not None:
        raise FeatureError(name, "expected numbers or strings in 2 dimensions, got lists")
    return Column(flat.values, offsets, flat.text, flat.first_float)


def _of_flat(name: str, array: _Array, sample_of: Callable[[int], int] = int) -> Column:
    kind = array.dtype.kind
    if kind in "iufb":
        return Column(array)
    if kind in "UT":
        return Column(_hashed(name, array.tolist(), sample_of), text=True)
    if kind == "O":
        items = array.tolist()
        return _of_list(name, items) if items and _is_sample(items[0]) else _of_items(name, items, sample_of)
    raise FeatureError(name, f"expected {KINDS}, got {array.dtype}")


# Python


_SCALARS = frozenset({int, str, float, bool, type(None)})


def _is_sample(item: Any) -> bool:
    return hasattr(item, "__len__") and not isinstance(item, (str, bytes, dict)) and getattr(item, "shape", None) != ()


def _of_list(name: str, items: list[Any]) -> Column:
    if {*map(type, items)} <= _SCALARS or not any(map(_is_sample, items)):
        return _of_items(name, items)
    for i, item in enumerate(items):
        if not _is_sample(item):
            got = "None" if item is None else _called(type(item))
            raise FeatureError(name, f"expected a list of values for each sample, got {got} for sample {i}")
    offsets = np.zeros(len(items) + 1, np.int64)
    np.cumsum([len(item) for item in items], out=offsets[1:])

    def sample_of(place: int) -> int:
        return int(np.searchsorted(offsets, place, "right")) - 1

    if {type(item) for item in items} <= {list, tuple}:
        flat = _of_items(name, list(itertools.chain.from_iterable(items)), sample_of)
        return Column(flat.values, offsets, flat.text, flat.first_float)
    # Of no use to say what an array without items holds: numpy calls it floats.
    parts = {i: _one_sample(name, item, i) for i, item in enumerate(items) if len(item)}
    values = _joined(name, parts)
    return Column(values, offsets, any(part.text for part in parts.values()))


def _one_sample(name: str, item: Any, i: int) -> Column:
    try:
        column = column_of(name, item)
    except FeatureError as error:
        raise FeatureError(name, f"{error.problem} (within sample {i})") from None
    if column.offsets is not None:
        raise FeatureError(name, f"expected 1 dimension for sample {i}, got more")
    return column


def _joined(name: str, parts: dict[int, Column]) -> _Array:
    """The values of all samples, by their numbers."""
    if not parts:
        return np.empty(0, np.uint64)
    kinds = {i: _kind_of(part) for i, part in parts.items()}
    first = next(iter(kinds))
    if other := next((i for i, kind in kinds.items() if kind != kinds[first]), None):
        got = f"{kinds[first]} in sample {first} and {kinds[other]} in sample {other}"
        raise FeatureError(name, f"expected one type in all samples, got {got}")
    arrays = [part.values for part in parts.values()]
    if kinds[first] == "integers":  # which numpy would make floats of, if some are unsigned
        return np.concatenate([_as_u64(array) for array in arrays])
    return np.concatenate(arrays)


def _kind_of(column: Column) -> str:
    return "strings" if column.text else {"f": "floats", "b": "bools"}.get(column.values.dtype.kind, "integers")


def _as_u64(array: _Array) -> npt.NDArray[np.uint64]:
    return array.astype(np.int64).view(np.uint64) if array.dtype.kind == "i" else array.astype(np.uint64, copy=False)


def _of_items(name: str, items: list[Any], sample_of: Callable[[int], int] = int) -> Column:
    kinds = {*map(type, items)}
    if not items:
        return Column(np.empty(0, np.uint64))
    if all(issubclass(kind, str) for kind in kinds):
        return Column(_hashed(name, items, sample_of), text=True)
    if all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in kinds):
        return Column(_integers(name, items if kinds == {int} else [int(item) for item in items], sample_of))
    if all(issubclass(kind, (bool, np.bool_)) for kind in kinds):
        return Column(np.array(items, bool))
    if all(issubclass(kind, (int, float, np.integer, np.floating)) and kind is not bool for kind in kinds):
        place = next(place for place, item in enumerate(items) if isinstance(item, (float, np.floating)))
        return Column(np.array(items, np.float64), first_float=place)
    # Of several kinds, or of one that is none of ours: the commonest stays unnamed, the other one is where to look.
    first = next((place for place, item in enumerate(items) if not isinstance(item, (str, int, float, np.number))), None)
    if first is None:
        first = next(place for place, item in enumerate(items) if type(item) is not type(items[0]))
    what = "None" if items[first] is None else _called(type(items[first]))
    also = "" if items[first] is None or first == 0 else f" after {_called(type(items[0]))}"
    hint = ": decode() makes strings of bytes" if isinstance(items[first], bytes) else ""
    raise FeatureError(name, f"expected {KINDS}, all of one kind, got {what}{also} in sample {sample_of(first)}{hint}")


def _integers(name: str, items: list[int], sample_of: Callable[[int], int]) -> _Array:
    try:
        return np.array(items, np.int64)
    except OverflowError:
        for place, item in enumerate(items):
            if not -(1 << 63) <= item < 1 << 64:
                raise FeatureError(
                    name, f"expected integers from -2^63 to 2^64 - 1, got {item} in sample {sample_of(place)}"
                ) from None
        return np.array([item % (1 << 64) for item in items], np.uint64)


def _hashed(name: str, items: list[Any], sample_of: Callable[[int], int] = int) -> _Array:
    for place, item in enumerate(items):
        if not isinstance(item, str):
            what = "None" if item is None else _called(type(item))
            raise FeatureError(name, f"expected strings, got {what} in sample {sample_of(place)}")
    try:
        return _core.hash_strings(items)
    except InvalidInput as error:
        raise FeatureError(name, str(error)) from None


# pandas


def _of_pandas(name: str, data: Any) -> Column:
    if not hasattr(data, "dtype"):
        raise FeatureError(name, f"expected one column, got {_called(type(data))}")
    kind = getattr(data.dtype, "kind", "O")
    missing = np.asarray(data.isna())
    if missing.any() and not (kind == "f" and isinstance(data.dtype, np.dtype)):  # NaN is a number there
        raise FeatureError(name, f"expected no empty cells, got one in sample {int(missing.argmax())}")
    if hasattr(data.dtype, "categories"):
        categories, codes = (data.cat.categories, data.cat.codes) if hasattr(data, "cat") else (data.categories, data.codes)
        column = column_of(name, categories)
        return Column(column.values[np.asarray(codes)], text=column.text)
    if kind in "iufb":
        return Column(data.to_numpy(dtype=f"{kind}{data.dtype.itemsize}"))
    if hasattr(data.dtype, "pyarrow_dtype"):
        return _of_arrow(name, data.array.__arrow_array__())
    return _of_flat(name, data.to_numpy(dtype=object))


# polars


def _of_polars(name: str, data: Any) -> Column:
    if hasattr(data, "columns"):
        raise FeatureError(name, f"expected one column, got {_called(type(data))}")
    if data.null_count():
        raise FeatureError(name, f"expected no empty cells, got one in sample {int(data.is_null().arg_max())}")
    kind = str(data.dtype.base_type())
    if kind in ("List", "Array"):
        lists = data.arr.to_list() if kind == "Array" else data
        lengths = lists.list.len()
        offsets = np.zeros(len(data) + 1, np.int64)
        np.cumsum(lengths.to_numpy(), out=offsets[1:])
        inner = lists.filter(lengths > 0).explode()
        if inner.null_count():
            place = int(inner.is_null().arg_max())
            raise FeatureError(
                name, f"expected no empty cells, got one in sample {int(np.searchsorted(offsets, place, 'right')) - 1}"
            )
        column = _of_polars(name, inner)
        if column.offsets is not None:
            raise FeatureError(name, "expected lists of numbers or strings, got lists of lists")
        return Column(column.values, offsets, column.text)
    if kind in ("String", "Categorical", "Enum"):
        return Column(_hashed(name, data.cast(str).to_list()), text=True)
    if kind == "Null":
        return Column(np.empty(0, np.uint64))
    return _of_array(name, data.to_numpy())


# Arrow


def _of_arrow(name: str, data: Any) -> Column:
    from persia.arrow import arrow_column

    return arrow_column(name, data)


_READERS: dict[str, Callable[[str, Any], Column]] = {
    "pandas": _of_pandas,
    "polars": _of_polars,
    "pyarrow": _of_arrow,
}
