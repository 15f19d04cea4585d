"""Ids as people have them, as the uint64 that travel: see docs/ids.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from persia.columns import Column, column_of
from persia.errors import FeatureError, InvalidInput

__all__ = ["hash_strings", "ids_of", "samples_of"]

_U64 = npt.NDArray[np.uint64]


def ids_of(name: str, data: Any, what: str = "ids") -> _U64:
    """(n), contiguous, of n ids in any form. uint64 arrays are taken as they are; name: for errors. Raises FeatureError.

    A negative number is the id of its 64 bits read without a sign, as Java and Spark have no unsigned numbers.
    """
    if isinstance(data, np.ndarray) and data.dtype == np.uint64 and data.ndim == 1 and not isinstance(data, np.ma.MaskedArray):
        return np.require(data, requirements=["C", "A"])
    column = column_of(name, data)
    if column.offsets is not None:
        raise FeatureError(name, f"expected {what} in 1 dimension, got lists of them")
    return as_ids(name, column)


def samples_of(name: str, data: Any) -> tuple[_U64, npt.NDArray[np.int64]]:
    """The ids of all samples one after the other, and the offsets (batch + 1) of the samples. Raises FeatureError."""
    column = column_of(name, data)
    if column.offsets is None and column.samples:
        raise FeatureError(name, f"expected a list of ids for each sample, got one id for each of {column.samples}")
    offsets = np.zeros(1, np.int64) if column.offsets is None else column.offsets
    return as_ids(name, column), offsets


def as_ids(name: str, column: Column) -> _U64:
    """The values of a column as ids. Raises FeatureError for numbers with a fraction, also those that have none, and bool."""
    values = column.values
    if values.dtype.kind == "u":
        return np.ascontiguousarray(values, np.uint64)
    if values.dtype.kind == "i":
        return np.ascontiguousarray(values, np.int64).view(np.uint64)
    if not len(values):
        return np.empty(0, np.uint64)
    expected = "expected ids that are integers or strings, got"
    if values.dtype.kind != "f":
        raise FeatureError(name, f"{expected} {values.dtype} in sample {column.sample_of(0)}")
    empty = np.flatnonzero(np.isnan(values)).tolist()
    place = empty[0] if empty else column.first_float
    why = "NaN is not an id, and makes floats of a pandas column" if empty else "a float has lost the digits of a large id"
    raise FeatureError(name, f"{expected} {values.dtype} in sample {column.sample_of(place)}: {why}")


def hash_strings(strings: Any) -> _U64:
    """The ids of strings in a list, an array of numpy, or a column of pandas, polars or Arrow. Raises InvalidInput."""
    column = column_of("strings", strings)
    if column.offsets is not None or (len(column.values) and not column.text):
        got = "lists" if column.offsets is not None else str(column.values.dtype)
        raise InvalidInput(f"expected strings in 1 dimension, got {got}")
    return as_ids("strings", column)
