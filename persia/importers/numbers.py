"""The numbers of other systems as ours: float32 for rows, and unsigned 64 bits for ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .source import F32, U64

__all__ = ["FLOATS", "INTEGERS", "conversion_of", "dtype_of", "floats_of", "ids_of_integers", "is_float"]

# By the names that numpy and torch share. bfloat16 is the upper half of float32, and numpy does not have it.
FLOATS = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "float64": "<f8"}
INTEGERS = {f"{sign}int{bits}": f"<{sign or 'i'}{bits // 8}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def is_float(name: str) -> bool:
    """Whether numbers of that name can be those of rows."""
    return name in FLOATS


def dtype_of(name: str) -> np.dtype[Any]:
    """How numbers of that name lie in a file. Raises KeyError for other names."""
    return np.dtype({**FLOATS, **INTEGERS, "bool": "?"}[name])


def conversion_of(name: str) -> str:
    """What becomes of numbers of that name on the way to float32, in words; empty if they stay as they are."""
    if name == "float32":
        return ""
    return f"{name} to float32, {'rounded' if name == 'float64' else 'exactly'}"


def floats_of(raw: npt.NDArray[Any], name: str) -> F32:
    """Numbers as they lie in a file -> float32. REQUIRES: is_float(name)."""
    if name == "bfloat16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, which the import refuses by the row's id
        return np.ascontiguousarray(raw, np.float32)


def ids_of_integers(raw: npt.NDArray[Any]) -> U64:
    """Integers of any width -> the same 64 bits without a sign: -1 is 2^64 - 1, as in requests."""
    wide = raw.astype(np.int64 if raw.dtype.kind == "i" else np.uint64)
    return np.ascontiguousarray(wide.view(np.uint64))
