"""Rows with a time to live: each layer is published past it, and rows whose time is over are deleted soon after."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from persia import _core

__all__ = ["Expiring"]

log = logging.getLogger(__name__)

# How often rows are looked for whose time is over. A look goes through all rows that have one, so where these are many, it
# comes so seldom that it takes a fiftieth of a processor at most.
SWEEP_SECONDS = 1.0
SWEEP_SHARE = 50


class Expiring:
    """Publishes the layers of one table. Any thread may use it.

    A row goes with the first sweep after its end, in a layer of deletions. Until then lookups find it.
    """

    def __init__(self, table: _core.Table, storage: str, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds since 1970."""
        self._table, self._storage, self._clock = table, storage, clock
        self._ends = _core.Expiry()
        # Else a row that was put again could be deleted by a sweep that found it before.
        self._publishing = threading.Lock()
        self._wanted = threading.Event()  # some row has an end
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.has_had_ends = False  # whether any row had an end, since the start
        self.deleted_rows = 0  # by packets, since the start
        self.expired_rows = 0

    @property
    def rows(self) -> int:
        """Rows that have an end."""
        return self._ends.size

    def signs(self) -> npt.NDArray[np.uint64]:
        """Of the rows that have an end, in no order."""
        return self._ends.signs()

    def set(self, signs: npt.NDArray[np.uint64], ends: npt.NDArray[np.uint64], shard: tuple[int, int]) -> None:
        """When rows that are in the table end, of those that belong to the shard. Raises MemoryError, TooLarge."""
        self._ends.set(signs, ends, *shard)
        self._note_ends()

    def publish(self, layer: _core.Layer) -> int:
        """Makes the layer the newest one, without the rows whose time is over. Returns its version.

        Raises MemoryError, TooLarge.
        """
        return self._publish(layer, self._table.publish)

    def begin_epoch(
        self, layer: _core.Layer, epoch: int, onto: int, variants: Sequence[tuple[int, _core.Layer, bool]] = ()
    ) -> int:
        """Does what publish() does, and what Table.begin_epoch() does. Rows of variants do not end."""
        return self._publish(layer, lambda layer: self._table.begin_epoch(layer, epoch, onto, variants))

    def _publish(self, layer: _core.Layer, publish: Callable[[_core.Layer], int]) -> int:
        with self._publishing:
            deleted, expired = self._ends.follow(layer, self._table.pin(), int(self._clock()))
            version = publish(layer)
            self.deleted_rows += deleted
            self.expired_rows += expired
        self._note_ends()
        return version

    def _note_ends(self) -> None:
        if self._ends.size:
            self.has_had_ends = True
            self._wanted.set()

    def sweep(self) -> int:
        """Deletes the rows that have ended; returns how many there were. Raises MemoryError, TooLarge."""
        with self._publishing:
            ended = self._ends.take_ended(int(self._clock()))
            if not len(ended):
                return 0
            try:
                gone = self._table.pin().count(ended)
                layer = _core.Layer(self._storage)
                layer.add_tombstones(ended)
                version = self._table.publish(layer)
            except BaseException:
                self._ends.set(ended, np.zeros(len(ended), np.uint64))  # the next sweep tries again
                raise
            self.expired_rows += gone
        log.info("%d rows have ended, version %d", gone, version)
        return gone

    def start(self) -> None:
        """Sweeps from now on, in a thread."""
        self._thread = threading.Thread(target=self._run, name="expiry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._ends.size:
                self._wanted.wait()
                self._wanted.clear()
                continue
            began = time.monotonic()
            try:
                self.sweep()
            except Exception as error:  # whatever it was, rows must not live for ever over it
                log.error("deleting rows that have ended failed, trying again: %r", error)
            self._stopping.wait(max(SWEEP_SECONDS, SWEEP_SHARE * (time.monotonic() - began)))
