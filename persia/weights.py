"""Weights of ids, as they travel: a dense tensor NAME.weights beside the feature NAME (docs/formats/byte-batch.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from persia.columns import column_of
from persia.errors import FeatureError

__all__ = ["WEIGHTS", "weight_matrix"]

WEIGHTS = ".weights"


def weight_matrix(name: str, weights: Any, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """(batch, most ids of a sample), zeros where a sample has fewer.

    weights: as the ids are given, in lists or all in one array; lengths (batch): how many ids each sample has. Raises
    FeatureError, which names the feature, unless there is a finite number for each id.
    """
    column = column_of(name, weights)
    samples, total = len(lengths), int(lengths.sum())
    if column.text or column.values.dtype.kind not in "iuf":
        got = "strings" if column.text else str(column.values.dtype)
        raise FeatureError(name, f"expected weights that are numbers, got {got}")
    if column.offsets is None:
        if len(column.values) != total:
            raise FeatureError(name, f"expected {total} weights, one for each id, got {len(column.values)}")
    else:
        if column.samples != samples:
            raise FeatureError(name, f"expected weights of {samples} samples, the batch size, got {column.samples}")
        odd = np.flatnonzero(np.diff(column.offsets) != lengths)
        if len(odd):
            i = int(odd[0])
            count = int(column.offsets[i + 1] - column.offsets[i])
            raise FeatureError(name, f"expected {int(lengths[i])} weights in sample {i}, one for each id, got {count}")
    with np.errstate(over="ignore"):
        values = column.values.astype(np.float32)
    begins = np.cumsum(lengths) - lengths
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        sample = int(np.searchsorted(begins + lengths, place, "right"))
        raise FeatureError(name, f"expected weights that are finite in float32, got {column.values[place]} in sample {sample}")
    matrix = np.zeros((samples, int(lengths.max(initial=0))), np.float32)
    matrix[np.repeat(np.arange(samples), lengths), np.arange(total) - np.repeat(begins, lengths)] = values
    return matrix
