"""How long a caller waits, by its own word."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from persia.errors import DeadlineExceeded, InvalidInput
from persia.torchserve.scores import DEADLINE

__all__ = ["caller_seconds", "seconds_left"]


def seconds_left(request: Mapping[str, Any], end: float) -> float:
    """Returns the seconds that the lookup may take, at most until `end` by time.monotonic(). Late work is not begun.

    Raises DeadlineExceeded, InvalidInput.
    """
    left = caller_seconds(request)
    if left <= 0:
        raise DeadlineExceeded(f"the caller's time was over {-left:.3f} s before its request was reached")
    return min(end - time.monotonic(), left)


def caller_seconds(request: Mapping[str, Any]) -> float:
    """How long the caller still waits; negative if it does no longer. Raises InvalidInput."""
    deadline = request.get(DEADLINE)
    if deadline is None:
        return math.inf
    try:
        return int(bytes(deadline)) / 1000 - time.time()
    except (ValueError, OverflowError):  # no number, or one of 400 digits
        raise InvalidInput(f"expected milliseconds since 1970 as `{DEADLINE}`, got {bytes(deadline)[:40]!r}") from None
