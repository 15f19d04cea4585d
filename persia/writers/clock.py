"""The clocks of a dumper, as one thing that a test can put its own in the place of."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    def time(self) -> float:
        """Seconds since 1970; may step in either direction."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Waits until the condition is notified or the seconds are over. The caller holds the condition."""


class SystemClock:
    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        condition.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))
