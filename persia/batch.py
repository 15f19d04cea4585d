"""Byte batches: what a client sends. See docs/formats/byte-batch.md; persia.embedding.data is this module's older name.

A batch is checked as it is built: a wrong dtype, shape or size raises FeatureError, which names the feature, before anything
is sent. Arrays are copied by then, so they may change afterwards. Objects are not for use by two threads at a time; different
ones are independent, and building a batch lets other threads run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from persia._core import BatchEncoder
from persia.errors import FeatureError, InvalidInput, TooLarge

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


def _id_array(name: str, array: Any, what: str) -> Ids:
    if not isinstance(array, np.ndarray):
        raise FeatureError(name, f"expected {what} in a numpy array of uint64, got {type(array).__name__}")
    if array.ndim != 1:
        raise FeatureError(name, f"expected {what} in 1 dimension, got {array.ndim}")
    if array.dtype != np.uint64:
        raise FeatureError(name, f"expected {what} of dtype uint64, got {array.dtype}")
    return np.require(array, requirements=["C", "A"])


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

    Either a list of uint64 arrays, one per sample: ``IDTypeFeature("tags", [np.array([7, 9], np.uint64), ...])``; or all
    ids in one array (ids), with offsets (batch + 1) that say where each sample begins and the last one ends:
    ``IDTypeFeature("tags", values, offsets)``. The latter needs no Python per sample.
    """

    def __init__(self, name: str, data: Sequence[Ids] | Ids, offsets: npt.ArrayLike | None = None) -> None:
        self.name = _name(name)
        self.data = data
        self.offsets: npt.NDArray[np.int64] | None = None
        if offsets is not None:
            self.data = _id_array(name, data, "the values of a pair of values and offsets")
            self.offsets = _offsets(name, offsets)
        elif isinstance(data, np.ndarray) and data.ndim == 1 and data.dtype != object:
            raise FeatureError(name, "expected a list of arrays, or offsets beside one array, got one array")
        elif not hasattr(data, "__len__"):
            raise FeatureError(name, f"expected a list of arrays of uint64, got {type(data).__name__}")

    @property
    def batch_size(self) -> int:
        return len(self.data) if self.offsets is None else len(self.offsets) - 1

    def _add_to(self, encoder: BatchEncoder) -> None:
        if self.offsets is not None:
            encoder.add_ids(self.name, _id_array(self.name, self.data, "ids"), self.offsets)
        elif isinstance(self.data, np.ndarray) and self.data.ndim == 2:
            # A matrix is a list of rows, but needs no object for each.
            samples, ids = self.data.shape
            values = _id_array(self.name, self.data.reshape(-1), "ids")
            encoder.add_ids(self.name, values, np.arange(samples + 1, dtype=np.int64) * ids)
        else:
            encoder.add_id_lists(self.name, self.data)


class IDTypeFeatureWithSingleID:
    """A feature of exactly one id per sample. data (batch) uint64."""

    def __init__(self, name: str, data: Ids) -> None:
        self.name = _name(name)
        self.data = _id_array(name, data, "ids")

    @property
    def batch_size(self) -> int:
        return len(self.data)

    def _add_to(self, encoder: BatchEncoder) -> None:
        encoder.add_single_ids(self.name, self.data)


class NdarrayDataBase:
    """An array (batch, ...) of bool, uint8, int8 to int64 or float16 to float64; any strides, either byte order."""

    DEFAULT_NAME: ClassVar[str] = "ndarray_base"

    def __init__(self, data: npt.NDArray[Any], name: str | None = None) -> None:
        self._name = None if name is None else _name(name)
        self.data = data
        if not isinstance(data, np.ndarray):
            raise FeatureError(self.name, f"expected a numpy array, got {type(data).__name__}")
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
        for label in self._arrays(labels, Label):
            self.batch.add_label(label._encodable(), label.name)
        if meta is not None:
            if not isinstance(meta, (bytes, bytearray, memoryview, str)):
                raise InvalidInput(f"expected meta to be bytes, got {type(meta).__name__}")
            self.batch.set_meta(meta.encode() if isinstance(meta, str) else meta)

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
