"""Batches of named columns: a dict of them, or the columns of a table, sorted by type into features and dense tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, Label, NonIDTypeFeature, PersiaBatch
from persia.columns import Column, column_of
from persia.errors import FeatureError, InvalidInput
from persia.ids import as_ids
from persia.weights import WEIGHTS

__all__ = ["SCALARS", "Choice", "Columns", "Parts", "batch_of_columns", "columns_of_frame", "float32", "parts_of"]

_Array = npt.NDArray[Any]
_Batch = TypeVar("_Batch", bound=PersiaBatch)
_Feature = IDTypeFeature | IDTypeFeatureWithSingleID

# By name, read when they are needed: a table may have columns that are neither ids nor numbers, and that nobody asks for.
Columns = Mapping[str, Callable[[], Column]]

SCALARS = "dense"  # the tensor that columns of single numbers make


@dataclass(frozen=True)
class Choice:
    """Which columns of a table are what; None: by their types. weights: of a feature the column with those of its ids.

    A column NAME.weights is that of the feature NAME without being named. others_by_type: that the types decide on the columns
    that are not named, also where some are. tensors: of a dense tensor its columns.
    """

    features: Sequence[str] | None = None
    dense: Sequence[str] | None = None
    labels: Sequence[str] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[str] = ()  # which are none of these
    others_by_type: bool = False
    tensors: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def named(self) -> list[str]:
        """All columns that are named, each as often as it is."""
        in_tensors = [column for columns in self.tensors.values() for column in columns]
        features, dense = self.features or (), self.dense or ()
        return [*features, *dense, *in_tensors, *self.labels, *self.weights.values(), *self.others]


@dataclass(frozen=True)
class Parts:
    """A table, sorted: all columns have as many samples."""

    features: Mapping[str, Column]  # of uint64
    dense: Mapping[str, _Array]
    labels: Mapping[str, _Array]
    weights: Mapping[str, Column]
    samples: int

    def batch(self, kind: type[_Batch], begin: int, end: int, requires_grad: bool = False) -> _Batch:
        """Of the samples from begin to end."""
        features: list[_Feature] = []
        for name, column in self.features.items():
            weights = self.weights.get(name)
            part = None if weights is None else _weights_of(weights.cut(begin, end))
            features.append(_feature(name, column.cut(begin, end), part))
        dense = [NonIDTypeFeature(array[begin:end], name) for name, array in self.dense.items()]
        labels = [Label(array[begin:end], name) for name, array in self.labels.items()]
        return kind(features, dense, labels, requires_grad=requires_grad)


def _feature(name: str, column: Column, weights: Any = None) -> _Feature:
    """column: of uint64."""
    if column.offsets is None:
        return IDTypeFeatureWithSingleID(name, column.values, weights=weights)
    return IDTypeFeature(name, column.values, column.offsets, weights=weights)


def _weights_of(column: Column) -> Any:
    if column.offsets is None:
        return column.values
    return [column.values[begin:end] for begin, end in zip(column.offsets[:-1], column.offsets[1:], strict=True)]


def columns_of_frame(frame: Any) -> Columns:
    """Of a DataFrame of pandas or polars, or a Table of pyarrow. Raises InvalidInput for anything else."""
    library = type(frame).__module__.partition(".")[0]
    if hasattr(frame, "collect"):
        raise InvalidInput("expected a DataFrame, got a LazyFrame: collect() it first")
    names = getattr(frame, "column_names", None) if library == "pyarrow" else getattr(frame, "columns", None)
    if library not in ("pandas", "polars", "pyarrow") or names is None or callable(names):
        raise InvalidInput(f"expected a DataFrame of pandas or polars, or a Table of pyarrow, got {type(frame).__name__}")
    names = list(names)
    if odd := [name for name in names if not isinstance(name, str)]:
        raise InvalidInput(f"expected columns with names that are strings, got {odd[0]!r}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"expected each column once, got {twice[0]!r} twice")

    def reader(name: str) -> Callable[[], Column]:
        return lambda: column_of(name, frame[name])

    return {name: reader(name) for name in names}


def parts_of(columns: Columns, choice: Choice) -> Parts:
    """The columns of a table as features, dense tensors, labels and weights. Raises FeatureError, InvalidInput."""
    _check_named(columns, choice.named)
    weighting = _weighting(columns, choice)
    found = _sorted_by_kind(columns, choice, {*choice.labels, *weighting.values(), *choice.others, *_inner(choice)})
    if not found.features:
        raise InvalidInput(f"expected a column of ids at least, of integers or strings, got {_described(columns)}")
    for feature in weighting:
        if feature not in found.features:
            raise InvalidInput(f"expected weights of a feature, got those of {feature!r}")
    if both := [name for name in choice.tensors if name in found.features]:
        raise InvalidInput(f"expected a dense tensor of another name than the features have, got {both[0]!r}")
    dense = found.dense if not found.scalars else {**found.dense, SCALARS: _tensor_of_scalars(found, choice)}
    labels = {name: _label(name, columns[name]()) for name in choice.labels}
    weights = {name: columns[column]() for name, column in weighting.items()}
    lengths = {name: column.samples for name, column in [*found.features.items(), *weights.items()]}
    lengths |= {name: len(array) for name, array in [*dense.items(), *labels.items()]}
    if len(set(lengths.values())) != 1:
        raise InvalidInput(f"expected the same number of samples everywhere, got {lengths}")
    return Parts(found.features, dense, labels, weights, next(iter(lengths.values())))


class _Kinds(NamedTuple):
    """The columns that are neither labels nor weights. `scalars`: dense ones of one number a sample."""

    features: dict[str, Column]
    scalars: dict[str, _Array]
    dense: dict[str, _Array]


def _check_named(columns: Columns, named: Sequence[str]) -> None:
    for name in named:
        if name not in columns:
            raise InvalidInput(f"expected a column {name!r}, got {', '.join(map(repr, columns)) or 'none'}")
        if named.count(name) > 1:
            raise InvalidInput(f"expected each column to be one thing, got {name!r} named twice")


def _weighting(columns: Columns, choice: Choice) -> dict[str, str]:
    """The column of weights of each weighted feature: by its name, or as the caller chose."""
    weighting = {name.removesuffix(WEIGHTS): name for name in columns if name.endswith(WEIGHTS) and name not in choice.named}
    return {name: column for name, column in weighting.items() if name in columns} | dict(choice.weights)


def _inner(choice: Choice) -> Iterator[str]:
    """The columns that are put together to tensors."""
    return (name for inner in choice.tensors.values() for name in inner)


def _sorted_by_kind(columns: Columns, choice: Choice, placed: Set[str]) -> _Kinds:
    """What is neither named nor `placed` is told by its type, where the choice leaves that open."""
    guess_features = choice.features is None or choice.others_by_type
    guess_dense = choice.dense is None or choice.others_by_type
    dense = {name: _tensor(name, [(each, columns[each]()) for each in inner]) for name, inner in choice.tensors.items()}
    found = _Kinds({}, {}, dense)
    for name in columns:
        if name in placed:
            continue
        is_feature, is_dense = name in (choice.features or ()), name in (choice.dense or ())
        if not (is_feature or is_dense or guess_features or guess_dense):
            continue
        column = columns[name]()
        if not (is_feature or is_dense):
            floats = column.values.dtype.kind == "f"
            if column.values.dtype.kind == "b":
                raise FeatureError(name, "expected integers, strings or floats, got bool: name it as dense, if it is")
            is_feature, is_dense = not floats and guess_features, floats and guess_dense
        if is_feature:
            found.features[name] = Column(as_ids(name, column), column.offsets, column.text)
        elif is_dense and column.offsets is None:
            found.scalars[name] = float32(name, column)
        elif is_dense:
            if name in dense:
                raise InvalidInput(f"expected each dense tensor once, got {name!r} of named columns and of the column {name!r}")
            dense[name] = _matrix(name, column)
    return found


def _tensor_of_scalars(found: _Kinds, choice: Choice) -> _Array:
    scalars = found.scalars
    if choice.dense is not None and scalars.keys() <= set(choice.dense):
        scalars = {name: scalars[name] for name in choice.dense if name in scalars}  # as the caller names them, if all are
    if SCALARS in found.dense or SCALARS in found.features:
        raise InvalidInput(
            f"expected nothing else to be named {SCALARS!r}: the tensor of the single numbers is, here {', '.join(scalars)}"
        )
    return np.stack(_of_one_length(scalars), axis=1)


def _of_one_length(scalars: Mapping[str, _Array]) -> list[_Array]:
    lengths = {name: len(array) for name, array in scalars.items()}
    if len(set(lengths.values())) != 1:
        raise InvalidInput(f"expected the same number of samples everywhere, got {lengths}")
    return list(scalars.values())


def _described(columns: Columns) -> str:
    return ", ".join(f"{name} {column().values.dtype}" for name, column in columns.items()) or "no columns"


def _label(name: str, column: Column) -> _Array:
    if column.text:
        raise FeatureError(name, "expected a label of numbers, got strings")
    return column.values if column.offsets is None else _matrix(name, column)


def float32(name: str, column: Column) -> npt.NDArray[np.float32]:
    """The numbers of a column. Raises FeatureError for strings, and for what float32 cannot hold."""
    numbers = column.values
    if column.text:
        raise FeatureError(name, "expected numbers for a dense tensor, got strings")
    try:
        with np.errstate(over="raise"):
            return numbers.astype(np.float32)
    except FloatingPointError:
        largest = np.abs(numbers[np.isfinite(numbers)]).max()
        raise FeatureError(name, f"expected numbers that float32 can hold, got {largest}") from None


def _matrix(name: str, column: Column) -> npt.NDArray[np.float32]:
    assert column.offsets is not None
    widths = np.unique(np.diff(column.offsets))
    if len(widths) > 1:
        raise FeatureError(name, f"expected lists of one length, got {widths.tolist()}")
    return float32(name, column).reshape(column.samples, int(widths[0]) if len(widths) else 0)


def _tensor(name: str, columns: Sequence[tuple[str, Column]]) -> npt.NDArray[np.float32]:
    """(batch, numbers) of columns of numbers, or of lists of them, side by side."""
    if not columns:
        raise InvalidInput(f"expected a column at least for the dense tensor {name!r}, got none")
    parts = {
        each: float32(each, column)[:, np.newaxis] if column.offsets is None else _matrix(each, column)
        for each, column in columns
    }
    return np.concatenate(_of_one_length(parts), axis=1)


def batch_of_columns(
    kind: type[_Batch],
    features: Mapping[str, Any],
    dense: Mapping[str, Any] | None,
    labels: Mapping[str, Any] | None,
    weights: Mapping[str, Any] | None,
    requires_grad: bool,
    meta: Any,
) -> _Batch:
    """PersiaBatch.from_dict."""
    weights = weights or {}
    for name in weights:
        if name not in features:
            raise FeatureError(name, "expected weights of a feature of the batch, got them without it")
    return kind(
        [_feature_of(name, data, weights.get(name)) for name, data in features.items()],
        [NonIDTypeFeature(_dense_array(name, data), name) for name, data in (dense or {}).items()],
        [Label(_dense_array(name, data), name) for name, data in (labels or {}).items()],
        requires_grad=requires_grad,
        meta=meta,
    )


def _feature_of(name: str, data: Any, weights: Any) -> _Feature:
    if isinstance(data, np.ndarray) and data.dtype == np.uint64 and data.ndim == 1:
        return IDTypeFeatureWithSingleID(name, data, weights=weights)
    if isinstance(data, tuple) and len(data) == 2 and all(map(_is_column, data)):
        return IDTypeFeature(name, *data, weights=weights)
    if isinstance(data, list) and data and isinstance(data[0], np.ndarray):
        return IDTypeFeature(name, data, weights=weights)
    column = column_of(name, data)
    return _feature(name, Column(as_ids(name, column), column.offsets), weights)


def _is_column(part: Any) -> bool:
    return hasattr(part, "__len__") and not isinstance(part, (str, bytes))


def _dense_array(name: str, data: Any) -> _Array:
    if isinstance(data, np.ndarray):
        return data
    if type(data).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow") and not hasattr(data, "columns"):
        column = column_of(name, data)
        if column.offsets is not None:
            return _matrix(name, column)
        return float32(name, column) if column.text or column.values.dtype == np.float64 else column.values
    try:
        array = np.asarray(data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise FeatureError(name, f"expected what numpy makes an array (batch, ...) of, got {error}") from None
    if isinstance(data, (list, tuple)) and array.dtype == np.float64:
        return float32(name, Column(array))
    return array
