"""`DriftWatch`: what a handler tells of its requests, and the thread of the worker that makes sketches of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from persia.routing.lookup import Lookup

from .budget import Budget
from .recorder import Recorder
from .sketching import Texts, add_batch, add_texts
from .window import Window

__all__ = ["DEFAULT_SHARE", "DriftWatch"]

DEFAULT_SHARE = 0.02
# Each keeps the memory of a request until it is sketched.
_QUEUED = 16

_Work = Callable[[Window, np.random.Generator], None]


class DriftWatch:
    """A request does no more for it than putting references into a queue; what finds no room there is counted, and let go.

    Any thread may call saw_batch and saw_texts. close() writes what there is of the last window.
    """

    def __init__(self, recorder: Recorder, share: float = DEFAULT_SHARE) -> None:
        """share: of a core, that the thread may take; from 1 on without a limit. Of other batches only their size is noted."""
        self._recorder = recorder
        self._budget = Budget(share)
        self._queue: queue.Queue[_Work | None] = queue.Queue(_QUEUED)
        self._lock = threading.Lock()
        self._seen = self._dropped = 0  # since the window began
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._thread.start()

    def saw_batch(self, lookup: Lookup, outputs: Callable[[], Mapping[str | None, Any]]) -> None:
        """A batch that was looked up. outputs: gives its scores by their names, as arrays (samples, ...); called later."""
        samples = int(lookup.shapes[0]) if len(lookup.shapes) else 0
        self._put(samples, lambda window, generator: add_batch(window, lookup.batch, lookup.features, outputs(), generator))

    def saw_texts(self, texts: Texts) -> None:
        self._put(len(texts.tokens), lambda window, generator: add_texts(window, texts, generator))

    def close(self) -> None:
        """Idempotent."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _put(self, samples: int, work: _Work) -> None:
        allowed = self._budget.allows()
        with self._lock:
            self._seen += samples
            if not allowed:
                return
            try:
                self._queue.put_nowait(work)
            except queue.Full:
                self._dropped += 1

    def _run(self) -> None:
        closing = False
        while not closing:
            try:
                work = self._queue.get(timeout=self._recorder.seconds_left)
            except queue.Empty:
                self._end_window()
                continue
            if work is None:
                closing = True
            else:
                with self._budget.spending():
                    self._recorder.add(work)
            if closing or self._recorder.is_over():
                self._end_window()

    def _end_window(self) -> None:
        with self._lock:
            seen, self._seen = self._seen, 0
            dropped, self._dropped = self._dropped, 0
        with self._budget.spending():
            self._recorder.end_window(seen, dropped)
