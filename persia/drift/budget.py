"""How much of a core some work beside the requests may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Budget"]

_MOST_SECONDS = 0.1  # that are saved up while there is nothing to do
_NEWS = 0.2  # the weight of what a piece of work took, in what the next one is expected to take


class Budget:
    """Seconds of a processor grow with the time, by a share; work may begin while some are left."""

    def __init__(
        self,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        """share: of a core; with 1, work may always begin."""
        self._share, self._clock, self._spent = share, clock, spent
        self._lock = threading.Lock()
        self._left, self._at = _MOST_SECONDS, clock()
        self._expected = 0.0
        self.is_open = True  # whether work may begin, as far as somebody looked: a request can afford no more

    def seconds_shut(self) -> float:
        """Until work may begin; 0 opens it."""
        with self._lock:
            self._look()
            return 0.0 if self.is_open else -self._left / self._share

    def take(self) -> float | None:
        """Sets aside what a piece of work is expected to take. None: it may not begin."""
        with self._lock:
            self._look()
            if not self.is_open:
                return None
            self._left -= self._expected
            return self._expected

    def give_back(self, seconds: float) -> None:
        """What was set aside for work that does not take place."""
        with self._lock:
            self._left += seconds

    def _look(self) -> None:
        now = self._clock()
        self._left = min(_MOST_SECONDS, self._left + (now - self._at) * self._share)
        self._at = now
        self.is_open = self._left > 0 or self._share == 1

    @contextmanager
    def spending(self, set_aside: float | None = None) -> Iterator[None]:
        """Takes what the calling thread computes within `with`, instead of what was set aside for it, if something was."""
        before = self._spent()
        try:
            yield
        finally:
            took = self._spent() - before
            with self._lock:
                self._left += (set_aside or 0.0) - took
                if set_aside is not None:
                    self._expected += _NEWS * (took - self._expected)
