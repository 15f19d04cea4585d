"""The windows of one worker, one after the other: each is written to the state directory when its time or its room is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .state import Piece, StateDirectory
from .window import Window

__all__ = ["Recorder", "Windows"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Windows:
    """How long a worker's windows are (samples 0: not by count), and how much room those that are over may take."""

    seconds: float = 600.0
    samples: int = 0
    history_bytes: int = 64 << 20


class Recorder:
    """For one thread. Windows that end by time are those of the clock, the same for all workers."""

    def __init__(
        self,
        directory: StateDirectory,
        windows: Windows,
        *,
        seed: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._directory, self._windows, self._now = directory, windows, now
        self._generator = np.random.default_rng(seed)
        self._said = ""
        self.window = self._next_window()

    @property
    def seconds_left(self) -> float:
        """Until the window's time is over."""
        return max(0.0, self._end - self._now())

    def add(self, work: Callable[[Window, np.random.Generator], None]) -> None:
        """Has some work put something into the window. An error of it is logged, and costs no more than this batch."""
        try:
            work(self.window, self._generator)
        except Exception as error:  # whatever a model answers: the worker goes on
            log.warning("a batch was not sketched: %s: %s", type(error).__name__, error)

    def is_over(self) -> bool:
        by_count = self._windows.samples and self.window.samples >= self._windows.samples
        return bool(by_count) or self.seconds_left == 0

    def end_window(self, seen: int, dropped: int) -> None:
        """Writes the window, unless nothing came, and begins the next one. An error is logged, once until another one comes."""
        ended, self.window.end = self.window, min(self._now(), self._end)
        ended.seen, ended.dropped = seen, dropped
        self.window = self._next_window()
        if not (ended.samples or seen or dropped):
            return
        try:
            self._directory.write(Piece(ended, self._windows.seconds, self._windows.samples))
            self._directory.prune(self._windows.history_bytes)
            self._said = ""
        except OSError as error:
            if self._said != str(error):
                self._said = str(error)
                log.error("a window of the watch for drift was not written: %s", error)

    def _next_window(self) -> Window:
        now = self._now()
        begin = now if self._windows.samples else now // self._windows.seconds * self._windows.seconds
        self._end = begin + self._windows.seconds
        return Window(begin, begin)
