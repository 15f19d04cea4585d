"""When a worker is started again, and when it is given up."""

from __future__ import annotations

import time

__all__ = ["BACK_OFF", "WorkerStarts"]

# Seconds before each new start after a death, as TorchServe has them; the last goes on.
BACK_OFF = (0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55)
# A worker that has kept its memory limit for so long has mended itself.
_STEADY_SECONDS = 60.0


class WorkerStarts:
    """For the one thread that starts a worker's process again and again."""

    def __init__(self, retry_seconds: float) -> None:
        """retry_seconds: for how long starts may fail, one after the other."""
        self._retry_seconds = retry_seconds
        self._failures = 0  # since it last loaded the model
        self._first_failure = 0.0
        self._outgrown = 0  # starts in a row that soon went beyond the memory limit
        self._loaded = 0.0

    def load(self) -> None:
        """The process has loaded the model: what failed before counts no longer."""
        self._failures = 0
        self._loaded = time.monotonic()

    def outgrow(self) -> None:
        """The process that had loaded the model has gone beyond its memory limit."""
        is_steady = time.monotonic() - self._loaded >= _STEADY_SECONDS
        self._outgrown = 1 if is_steady else self._outgrown + 1

    def end(self) -> None:
        """The process that had loaded the model has ended otherwise."""
        self._outgrown = 0

    def next(self) -> float | None:
        """The seconds until the next start; None: the worker is given up."""
        now = time.monotonic()
        if self._failures == 0:
            self._first_failure = now
        if now - self._first_failure > self._retry_seconds:
            self._failures += 1
            return None
        step = max(self._failures, self._outgrown - 1)
        self._failures += 1
        return BACK_OFF[min(step, len(BACK_OFF) - 1)]

    @property
    def failures(self) -> int:
        """Starts that failed, one after the other."""
        return self._failures
