"""Threads that answer requests over HTTP which stand in a line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from persia._core.inference import Exchange, ExchangeQueue

__all__ = ["ExchangeThreads"]

_LOOK_SECONDS = 1.0


class ExchangeThreads:
    """They run until close()."""

    def __init__(self, name: str, line: ExchangeQueue, answer: Callable[[Exchange], None], count: int) -> None:
        """answer: raises nothing."""
        self._line = line
        self._answer = answer
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def close(self, seconds: float) -> None:
        """Takes no more, and waits for so long for what is being answered."""
        self._line.close()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        while not self._line.closed:
            exchange = self._line.next(_LOOK_SECONDS)
            if exchange is not None:
                self._answer(exchange)
