"""`DriftWatch`: what a handler tells of its requests, and the thread of the worker that makes sketches of it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from persia.routing.lookup import Lookup

from .budget import Budget
from .recorder import Recorder
from .samples import SampleStore
from .sketching import Texts, add_batch, add_texts
from .window import Window

__all__ = ["DriftWatch"]

log = logging.getLogger(__name__)

# Each keeps the memory of a request until it is sketched.
_QUEUED = 16
_PAUSE_SECONDS = 20e-6
_LEAST_WAIT_SECONDS = 0.01  # for the budget: what is sketched earlier than that is not worth waking up

_Work = Callable[[Window, np.random.Generator], None]


def _pause() -> None:
    """Who waits for the interpreter gets it. Without a time, the thread that lets go of it would have it again at once."""
    time.sleep(_PAUSE_SECONDS)


class DriftWatch:
    """A request does no more for it than putting references into a queue; what finds no room there is counted, and let go.

    One thread, which answers requests, asks whether it wants() some samples, and if so calls saw_batch or saw_texts. close()
    writes what there is of the last window.
    """

    def __init__(self, recorder: Recorder, budget: Budget, samples: SampleStore | None = None) -> None:
        """budget: of the thread. Of batches that are beyond it only their size is noted."""
        self._recorder = recorder
        self._samples = samples
        self._budget = budget
        self._queue: queue.Queue[tuple[_Work, float] | None] = queue.Queue(_QUEUED)  # and the time that was set aside for it
        self._seen = self._dropped = 0  # these grow only, in the one thread that tells: so they need no lock
        self._seen_before = self._dropped_before = 0  # the window began
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._thread.start()

    def wants(self, samples: int) -> bool:
        """Notes that so many samples came, and says whether to tell what they were: most requests get no further than this."""
        self._seen += samples
        return self._budget.is_open

    def saw_batch(self, lookup: Lookup, outputs: Callable[[], Mapping[str | None, Any]], request: str = "") -> None:
        """A batch that was looked up and is wanted, and the id of its request.

        outputs: gives its scores by their names, as arrays (samples, ...); called by the thread.
        """

        def work(window: Window, generator: np.random.Generator) -> None:
            scores = outputs()
            add_batch(window, lookup.batch, lookup.features, scores, generator, _pause)
            if self._samples is not None:
                self._samples.add_batch(request, lookup.batch, scores)

        self._put(work)

    def saw_texts(self, requests: Sequence[str], texts: Callable[[], Texts]) -> None:
        """Some texts that are wanted, and of each the id of its request.

        texts: gives what is known of them; called by the thread.
        """

        def work(window: Window, generator: np.random.Generator) -> None:
            found = texts()
            add_texts(window, found, generator)
            if self._samples is not None:
                self._samples.add_texts(requests, found)

        self._put(work)

    def close(self) -> None:
        """Idempotent."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _put(self, work: _Work) -> None:
        set_aside = self._budget.take()
        if set_aside is None:
            return
        try:
            self._queue.put_nowait((work, set_aside))
        except queue.Full:
            self._budget.give_back(set_aside)
            self._dropped += 1

    def _run(self) -> None:
        closing = False
        while not closing:
            try:
                queued = self._queue.get(timeout=self._seconds_to_wait())
            except queue.Empty:
                if self._recorder.is_over():
                    self._end_window()
                continue
            closing = queued is None
            if queued is not None:
                work, set_aside = queued
                with self._budget.spending(set_aside):
                    self._recorder.add(work)
                del work, queued  # and the request's memory, before the next one comes
            if closing or self._recorder.is_over():
                self._end_window()

    def _seconds_to_wait(self) -> float:
        """Until the window is over, or the budget opens again, which nobody else looks after."""
        shut = self._budget.seconds_shut()
        left = self._recorder.seconds_left
        return min(left, max(shut, _LEAST_WAIT_SECONDS)) if shut else left

    def _end_window(self) -> None:
        seen, dropped = self._seen - self._seen_before, self._dropped - self._dropped_before
        self._seen_before += seen
        self._dropped_before += dropped
        with self._budget.spending():
            self._recorder.end_window(seen, dropped)
            if self._samples is not None:
                try:
                    self._samples.end_window()
                except OSError as error:
                    log.error("samples of answers were not put aside: %s", error)
