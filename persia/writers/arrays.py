"""The one check of the arrays that a trainer hands over."""

from __future__ import annotations

from typing import Any

import numpy as np

from persia.errors import InvalidInput

from .buckets import F32, U64

MAX_DIM = 65_535
MAX_SECONDS = 2**32 - 1  # since 1970: servers count to there


def check_signs(signs: Any) -> U64:
    """Signs (n) of uint64, contiguous.

    Raises:
        InvalidInput: another type or shape. Nothing is converted: a sign in a float has lost its low bits already.
    """
    signs = np.asarray(signs)
    if signs.ndim != 1 or signs.dtype != np.uint64:
        raise InvalidInput(f"expected signs (n) of uint64, got {signs.shape} of {signs.dtype}")
    return np.ascontiguousarray(signs)


def check_block(signs: Any, rows: Any, *, allow_non_finite: bool = False) -> tuple[U64, F32]:
    """Signs (n) of uint64 and rows (n, dim) of float32, both contiguous, of any memory layout before.

    Raises:
        InvalidInput: another type or shape, or, unless it is allowed, a NaN or an infinite number in a row.
    """
    signs, rows = check_signs(signs), np.asarray(rows)
    if rows.ndim != 2 or rows.dtype != np.float32:
        raise InvalidInput(f"expected rows (n, dim) of float32, got {rows.shape} of {rows.dtype}")
    if len(rows) != len(signs):
        raise InvalidInput(f"expected a row for each of {len(signs)} signs, got {len(rows)}")
    if not 1 <= rows.shape[1] <= MAX_DIM:
        raise InvalidInput(f"expected a dim from 1 to {MAX_DIM}, got {rows.shape[1]}")
    if not allow_non_finite and not np.isfinite(rows).all():
        where = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        raise InvalidInput(
            f"expected finite numbers in all rows, got {len(where)} rows with NaN or infinite ones, the first of sign "
            f"{signs[where[0]]}; `allow_non_finite=True` writes them all the same"
        )
    return signs, np.ascontiguousarray(rows)


def check_lifetimes(ttl: Any, n: int, now: float) -> U64:
    """The unix second (n) at which each of n rows ends that has `ttl` seconds from now: one number, or one for each row.

    Raises:
        InvalidInput: another shape, or no seconds above 0.
    """
    seconds = np.asarray(ttl, np.float64)
    if seconds.shape not in ((), (n,)):
        raise InvalidInput(f"expected one time to live, or one for each of {n} rows, got {seconds.shape}")
    ends = np.ceil(np.broadcast_to(seconds, (n,)) + now)
    if not ((seconds > 0).all() and (ends < MAX_SECONDS).all()):
        raise InvalidInput(f"expected times to live above 0 s that end before the year 2106, got {ttl}")
    return ends.astype(np.uint64)
