"""Copies of requests for a version whose answers nobody gets, to see how it would do."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from persia.errors import PersiaError

from .version_results import Results, VersionResults

__all__ = ["Shadow"]

# Copies that wait. What comes beyond is dropped: who answers callers must not fill memory with what nobody waits for.
_WAITING = 256
_LOOK_SECONDS = 0.2


class Shadow:
    """Has a thread until close()."""

    def __init__(self, predict: Callable[[Any], Any], score_of: Callable[[Any], float | None], waiting: int = _WAITING) -> None:
        """predict: asks the version. score_of: what of an answer is compared with what the caller got."""
        self._predict, self._score_of = predict, score_of
        self._queue: queue.Queue[tuple[Any, Any]] = queue.Queue(waiting)
        self._results, self._closed = VersionResults(), threading.Event()
        self.dropped = 0  # a caller that counts at the same moment may be lost
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    def copy(self, request: Any, answer: Any) -> None:
        """Has the request sent as well, some time; answer: what the caller got. Never waits."""
        try:
            self._queue.put_nowait((request, answer))
        except queue.Full:
            self.dropped += 1

    def results(self) -> Results:
        return self._results.results()

    def close(self) -> None:
        """What is not sent yet is dropped."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                request, given = self._queue.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            began = time.perf_counter()
            try:
                answer = self._predict(request)
                self._results.answered(time.perf_counter() - began, self._score_of(answer), self._score_of(given))
            except PersiaError as error:
                self._results.failed(error)
            except Exception as error:  # of what a version answers nothing may end the thread
                self._results.failed(error)
