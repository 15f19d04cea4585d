"""The one check of the arrays that a trainer hands over."""

from __future__ import annotations

from typing import Any

import numpy as np

from persia.errors import InvalidInput

from .buckets import F32, U64

MAX_DIM = 65_535


def check_block(signs: Any, rows: Any) -> tuple[U64, F32]:
    """Signs (n) of uint64 and rows (n, dim) of float32, both contiguous, of any memory layout before.

    Raises:
        InvalidInput: another type or shape. Nothing is converted: a sign in a float has lost its low bits already.
    """
    signs, rows = np.asarray(signs), np.asarray(rows)
    if signs.ndim != 1 or signs.dtype != np.uint64:
        raise InvalidInput(f"expected signs (n) of uint64, got {signs.shape} of {signs.dtype}")
    if rows.ndim != 2 or rows.dtype != np.float32:
        raise InvalidInput(f"expected rows (n, dim) of float32, got {rows.shape} of {rows.dtype}")
    if len(rows) != len(signs):
        raise InvalidInput(f"expected a row for each of {len(signs)} signs, got {len(rows)}")
    if not 1 <= rows.shape[1] <= MAX_DIM:
        raise InvalidInput(f"expected a dim from 1 to {MAX_DIM}, got {rows.shape[1]}")
    return np.ascontiguousarray(signs), np.ascontiguousarray(rows)
