"""Answers as JSON that every reader takes: Python would write NaN and Infinity, which are none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from persia.errors import PersiaError

__all__ = ["check_numbers", "json_body"]


def check_numbers(numbers: np.ndarray, place: str = "") -> None:
    """No label is best, where the model gives NaN. Raises PersiaError."""
    if np.isnan(numbers).any():
        raise PersiaError(
            f"the model answered NaN{place}: its weights are broken, or its type of numbers is too small for them"
        )


def json_body(value: Any) -> str:
    """Raises PersiaError for numbers that JSON does not have."""
    try:
        return json.dumps(value, indent=2, allow_nan=False)
    except ValueError as error:
        raise PersiaError("the model answered NaN or infinity, which JSON does not have") from error
