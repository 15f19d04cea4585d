"""How much of a core some work beside the requests may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Budget"]

_MOST_SECONDS = 0.1  # that are saved up while there is nothing to do


class Budget:
    """Seconds of a processor grow with the time, by a share; work is allowed while some are left."""

    def __init__(
        self,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._share, self._clock, self._spent = share, clock, spent
        self._lock = threading.Lock()
        self._left, self._at = _MOST_SECONDS, clock()

    def allows(self) -> bool:
        with self._lock:
            now = self._clock()
            self._left = min(_MOST_SECONDS, self._left + (now - self._at) * self._share)
            self._at = now
            return self._left > 0 or self._share >= 1

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Takes what the calling thread computes within `with`."""
        before = self._spent()
        try:
            yield
        finally:
            with self._lock:
                self._left -= self._spent() - before
