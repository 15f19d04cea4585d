"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading

SECONDS = 30.0  # until a test that waits for a thread gives up


class SteppedClock:
    """A clock for one dumper: `now` since 1970, and `elapsed` for intervals."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.elapsed = 0.0
        self._seen: float | None = None
        self._dumper: threading.Condition | None = None
        self._idle = threading.Condition()

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.elapsed

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        with self._idle:
            self._dumper, self._seen = condition, self.elapsed
            self._idle.notify_all()
        condition.wait()

    def advance(self, seconds: float) -> None:
        """Returns when the dumper's thread has done all that is due by then, and waits again."""
        with self._idle:
            assert self._idle.wait_for(lambda: self._dumper is not None, SECONDS)
            dumper = self._dumper
        assert dumper is not None
        with dumper:
            self.now += seconds
            self.elapsed += seconds
            dumper.notify_all()
        with self._idle:
            assert self._idle.wait_for(lambda: self._seen == self.elapsed, SECONDS)
