"""Byte batches: what a client sends. See docs/formats/byte-batch.md; persia.embedding.data is this module's older name.

A batch is checked as it is built: a wrong dtype, shape or size raises FeatureError, which names the feature, before anything
is sent. Arrays are copied by then, so they may change afterwards. Objects are not for use by two threads at a time; different
ones are independent, and building a batch lets other threads run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from persia._core import BatchEncoder
from persia.errors import FeatureError, InvalidInput, TooLarge
from persia.ids import ids_of, samples_of
from persia.weights import WEIGHTS, weight_matrix

__all__ = [
    "MAX_BATCH_SIZE",
    "MAX_IDS_PER_SAMPLE",
    "IDTypeFeature",
    "IDTypeFeatureWithSingleID",
    "Label",
    "NdarrayDataBase",
    "NonIDTypeFeature",
    "PersiaBatch",
]

Ids: TypeAlias = npt.NDArray[np.uint64]

MAX_BATCH_SIZE = 65535  # samples; the wire has 16 bits for the count
MAX_IDS_PER_SAMPLE = 65536  # ids of one feature; the wire has 16 bits for the place of an id in its sample

# Kind and size in bytes of what torch can take at the other end; compared so because numpy has several names for some.
_DENSE_DTYPES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8"})


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise InvalidInput(f"expected the name of a feature to be a str, got {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"expected the name of a feature to be text that UTF-8 can hold, got {name!r}") from None
    return name


class IDTypeFeature:
    """A feature of any number of ids per sample.

    Either a list of them for each sample: ``IDTypeFeature("tags", [[7, 9], []])``, also a matrix or a column of lists; or all
    ids in one array (ids), with offsets (batch + 1) that say where each sample begins and the last one ends:
    ``IDTypeFeature("tags", values, offsets)``. Ids are uint64, other integers or strings (docs/ids.md); lists of uint64 arrays,
    and uint64 values with offsets, need no conversion. weights: a number for each id, given as the ids are.
    """

    def __init__(self, name: str, data: Any, offsets: npt.ArrayLike | None = None, *, weights: Any = None) -> None:
        self.name = _name(name)
        self.data = data
        self.weights = weights
        self.offsets: npt.NDArray[np.int64] | None = None
        if offsets is not None:
            self.data = ids_of(name, data, "the values of a pair of values and offsets")
            self.offsets = _offsets(name, offsets)
        elif isinstance(data, np.ndarray) and data.ndim == 1 and data.dtype != object:
            raise FeatureError(name, "expected a list of arrays, or offsets beside one array, got one array")
        elif not isinstance(data, (list, tuple)):
            self.data, self.offsets = samples_of(name, data)

    @property
    def batch_size(self) -> int:
        return len(self.data) if self.offsets is None else len(self.offsets) - 1

    def _add_to(self, encoder: BatchEncoder) -> None:
        if self.offsets is None:
            try:
                return encoder.add_id_lists(self.name, self.data)
            except FeatureError:  # maybe for what is not uint64 yet
                self.data, self.offsets = samples_of(self.name, self.data)
        encoder.add_ids(self.name, self.data, self.offsets)

    def _weight_matrix(self) -> npt.NDArray[np.float32] | None:
        if self.weights is None:
            return None
        lengths = np.array([len(ids) for ids in self.data]) if self.offsets is None else np.diff(self.offsets)
        return weight_matrix(self.name, self.weights, lengths.astype(np.int64))


class IDTypeFeatureWithSingleID:
    """A feature of exactly one id per sample. data (batch) ids as for IDTypeFeature; weights (batch)."""

    def __init__(self, name: str, data: Any, *, weights: Any = None) -> None:
        self.name = _name(name)
        self.data: Ids = ids_of(name, data)
        self.weights = weights

    @property
    def batch_size(self) -> int:
        return len(self.data)

    def _add_to(self, encoder: BatchEncoder) -> None:
        encoder.add_single_ids(self.name, self.data)

    def _weight_matrix(self) -> npt.NDArray[np.float32] | None:
        if self.weights is None:
            return None
        return weight_matrix(self.name, self.weights, np.ones(len(self.data), np.int64))


class NdarrayDataBase:
    """An array (batch, ...) of bool, uint8, int8 to int64 or float16 to float64; any strides, either byte order."""

    DEFAULT_NAME: ClassVar[str] = "ndarray_base"

    def __init__(self, data: npt.NDArray[Any], name: str | None = None) -> None:
        self._name = None if name is None else _name(name)
        self.data = data
        if not isinstance(data, np.ndarray):
            raise FeatureError(self.name, f"expected a numpy array, got {type(data).__name__}")
        if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
            raise FeatureError(self.name, "expected an array without masked values: fill them, or leave their samples out")
        if data.ndim == 0:
            raise FeatureError(self.name, "expected an array of at least 1 dimension, got 0")
        if data.ndim > 32:
            raise FeatureError(self.name, f"expected at most 32 dimensions, got {data.ndim}")
        if f"{data.dtype.kind}{data.dtype.itemsize}" not in _DENSE_DTYPES:
            raise FeatureError(self.name, f"expected bool, uint8, int8 to int64 or float16 to float64, got {data.dtype}")

    @property
    def batch_size(self) -> int:
        return int(self.data.shape[0])

    @property
    def name(self) -> str:
        return self._name or self.DEFAULT_NAME

    def __len__(self) -> int:
        return len(self.data)

    def _encodable(self) -> npt.NDArray[Any]:
        return np.ascontiguousarray(self.data, self.data.dtype.newbyteorder("="))


class NonIDTypeFeature(NdarrayDataBase):
    """A dense input of the model."""

    DEFAULT_NAME = "non_id_type_feature_anonymous"


class Label(NdarrayDataBase):
    """What the model should have said. Serving passes it through."""

    DEFAULT_NAME = "label_anonymous"


class PersiaBatch:
    """A batch of samples; ``to_bytes()`` is what servers take.

    ``batch_size`` is that of the first feature unless given; every part must have it. ``meta`` is bytes that travel with the
    batch (a str is sent as UTF-8). ``requires_grad`` matters to training only.
    """

    def __init__(
        self,
        id_type_features: Sequence[IDTypeFeature | IDTypeFeatureWithSingleID],
        non_id_type_features: Sequence[NonIDTypeFeature] | None = None,
        labels: Sequence[Label] | None = None,
        batch_size: int | None = None,
        requires_grad: bool = True,
        meta: bytes | bytearray | memoryview | str | None = None,
    ) -> None:
        if len(id_type_features) == 0:
            raise InvalidInput("expected at least 1 feature in id_type_features, got none")
        for feature in id_type_features:
            if not isinstance(feature, (IDTypeFeature, IDTypeFeatureWithSingleID)):
                raise InvalidInput(f"expected an IDTypeFeature or IDTypeFeatureWithSingleID, got {type(feature).__name__}")
        self.batch_size = int(batch_size or id_type_features[0].batch_size)
        if self.batch_size > MAX_BATCH_SIZE:
            raise TooLarge(f"expected a batch of at most {MAX_BATCH_SIZE} samples, got {self.batch_size}")

        self.batch = BatchEncoder()
        self.batch.set_requires_grad(bool(requires_grad))
        for feature in id_type_features:
            self._check_size(feature.name, feature.batch_size)
            feature._add_to(self.batch)
        for dense in self._arrays(non_id_type_features, NonIDTypeFeature):
            self.batch.add_dense(dense._encodable(), dense.name)
        # Last, so that a model that counts dense tensors from the first finds them where they were without weights.
        for feature in id_type_features:
            matrix = feature._weight_matrix()
            if matrix is not None:
                self.batch.add_dense(matrix, feature.name + WEIGHTS)
        for label in self._arrays(labels, Label):
            self.batch.add_label(label._encodable(), label.name)
        if meta is not None:
            if not isinstance(meta, (bytes, bytearray, memoryview, str)):
                raise InvalidInput(f"expected meta to be bytes, got {type(meta).__name__}")
            self.batch.set_meta(meta.encode() if isinstance(meta, str) else meta)

    @classmethod
    def from_dict(
        cls,
        features: Mapping[str, Any],
        dense: Mapping[str, Any] | None = None,
        labels: Mapping[str, Any] | None = None,
        *,
        weights: Mapping[str, Any] | None = None,
        requires_grad: bool = False,
        meta: bytes | bytearray | memoryview | str | None = None,
    ) -> PersiaBatch:
        """A batch of named columns, as lists, numpy arrays, torch tensors, or columns of pandas, polars or Arrow.

        Args:
            features: The ids of each feature. One id for each sample: a list or a column of them. Any number: a list of lists,
                a matrix, a column of lists, or a tuple of values and offsets. See docs/ids.md.
            dense: Of each dense tensor what numpy makes an array (batch, ...) of; floats in lists become float32.
            labels: As dense.
            weights: Of features that have them, as their ids are given.
            requires_grad: Matters to training only.
            meta: As for the constructor.

        Raises:
            FeatureError: A column is wrong; names it.
            InvalidInput, TooLarge: As for the constructor.
        """
        from persia.frames import batch_of_columns

        return batch_of_columns(cls, features, dense, labels, weights, requires_grad, meta)

    @classmethod
    def from_dataframe(
        cls,
        frame: Any,
        features: Sequence[str] | None = None,
        dense: Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
        labels: Sequence[str] | None = None,
        *,
        weights: Mapping[str, str] | None = None,
        requires_grad: bool = False,
    ) -> PersiaBatch:
        """A batch of the columns of a DataFrame of pandas or polars, or of a Table of pyarrow.

        Args:
            frame: Its rows are the samples.
            features: The columns that are features; None: all of integers, strings and lists of them.
            dense: The columns that are dense inputs; None: all of floats and lists of floats. Columns of single numbers make
                one tensor (batch, columns) named dense, in their order; one of lists makes a tensor by itself. A dict, such as
                {"numbers": ["n1", "n2"], "age": ["age"]}, names the tensors: each is float32 of its columns in this order.
            labels: The columns that are labels.
            weights: For a feature, the column with the weights of its ids.
            requires_grad: Matters to training only.

        Raises:
            FeatureError: A column is wrong; names it.
            InvalidInput, TooLarge: As for the constructor.
        """
        from persia.frames import Choice, columns_of_frame, parts_of

        tensors: dict[str, Sequence[str]] = {}
        if isinstance(dense, Mapping):
            tensors = {name: [columns] if isinstance(columns, str) else columns for name, columns in dense.items()}
            dense = ()
        choice = Choice(features, dense, labels or (), weights or {}, tensors=tensors)
        parts = parts_of(columns_of_frame(frame), choice)
        return parts.batch(cls, 0, parts.samples, requires_grad)

    def _check_size(self, name: str, size: int) -> None:
        if size != self.batch_size:
            raise FeatureError(name, f"expected {self.batch_size} samples, the batch size, got {size}")

    def _arrays(self, arrays: Iterable[NdarrayDataBase] | None, kind: type[NdarrayDataBase]) -> Iterable[NdarrayDataBase]:
        for array in arrays or ():
            if not isinstance(array, NdarrayDataBase):
                raise InvalidInput(f"expected a {kind.__name__}, got {type(array).__name__}")
            self._check_size(array.name, array.batch_size)
            yield array

    @property
    def data(self) -> BatchEncoder:
        return self.batch

    def to_bytes(self) -> bytes:
        return self.batch.to_bytes()


def _offsets(name: str, offsets: npt.ArrayLike) -> npt.NDArray[np.int64]:
    array = np.asarray(offsets)
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in "iu":
        raise FeatureError(name, f"expected offsets (batch + 1) of integers, got {array.dtype} of shape {array.shape}")
    if array.dtype == np.uint64 and int(array.max()) > np.iinfo(np.int64).max:
        raise FeatureError(name, f"expected offsets up to the number of values, got {array.max()}")
    return np.require(array, np.int64, ["C", "A"])
