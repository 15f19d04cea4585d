"""The ids of a feature: which come most often, and which there were at all. Both sketches have a bounded size, and merge.

datasketches has such sketches too, but takes ids one by one from Python. These take whole arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from persia._core import farmhash64

from .waiting import Waiting

__all__ = ["Distinct", "Heads"]

_Ids = npt.NDArray[np.uint64]
_Counts = npt.NDArray[np.int64]

HEADS = 256
WINDOW_HASHES, REFERENCE_HASHES = 1024, 16_384
_ALL_HASHES = 1 << 32


class Heads:
    """Ids with how often they came, by Misra and Gries: each count is too low by at most total / (HEADS + 1)."""

    def __init__(self) -> None:
        self._ids: _Ids = np.empty(0, np.uint64)  # ascending
        self._counts: _Counts = np.empty(0, np.int64)
        self._waiting = Waiting(2)
        self.total = 0

    @property
    def ids(self) -> _Ids:
        self._settle()
        return self._ids

    @property
    def counts(self) -> _Counts:
        self._settle()
        return self._counts

    def add(self, ids: _Ids, counts: npt.NDArray[Any]) -> None:
        """Some ids (n), in any order, and how often each came (n)."""
        self.total += int(counts.sum())
        if self._waiting.add(ids, counts):
            self._settle()

    def merge(self, other: Heads) -> None:
        self.total += other.total
        self._settle()
        self._join(other.ids, other.counts)

    def shares(self, ids: _Ids) -> npt.NDArray[np.float64]:
        """Of some ids (n), and of all others together: (n + 1)."""
        found = np.zeros(len(ids) + 1)
        if len(self.ids):
            places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            found[:-1] = np.where(self.ids[places] == ids, self.counts[places], 0)
        found[-1] = self.total - found.sum()
        return found / max(self.total, 1)

    def most(self, count: int) -> _Ids:
        """The ids that come most often, of those whose share is more than the sketch's error."""
        order = np.argsort(-self.counts, kind="stable")[:count]
        return self.ids[order[self.counts[order] > 2 * self.total / (HEADS + 1)]]

    def parts(self) -> list[Any]:
        return [self.total, self.ids.astype("<u8").tobytes(), self.counts.astype("<i8").tobytes()]

    @classmethod
    def of_parts(cls, parts: Sequence[Any]) -> Heads:
        made = cls()
        made.total = parts[0]
        made._ids, made._counts = np.frombuffer(parts[1], "<u8"), np.frombuffer(parts[2], "<i8")
        return made

    def _settle(self) -> None:
        if waiting := self._waiting.take():
            self._join(*waiting)

    def _join(self, ids: _Ids, counts: npt.NDArray[Any]) -> None:
        both, places = np.unique(np.concatenate([self._ids, ids]), return_inverse=True)
        sums = np.bincount(places, np.concatenate([self._counts, counts]), len(both)).astype(np.int64)
        if len(both) > HEADS:
            sums -= np.partition(sums, -HEADS - 1)[-HEADS - 1]
        kept = sums > 0
        self._ids, self._counts = both[kept], sums[kept]


class Distinct:
    """A sample of the distinct ids: those whose hash is below a threshold, which falls until at most `size` are left.

    An id is in the samples of two streams or in neither, so one sample says which share of it is not in the other.
    """

    def __init__(self, size: int = WINDOW_HASHES) -> None:
        self.size = size
        self._hashes: npt.NDArray[np.uint32] = np.empty(0, np.uint32)  # ascending
        self._threshold = _ALL_HASHES
        self._waiting = Waiting(1)

    @property
    def hashes(self) -> npt.NDArray[np.uint32]:
        self._settle()
        return self._hashes

    @property
    def threshold(self) -> int:
        self._settle()
        return self._threshold

    def add(self, ids: _Ids) -> None:
        if self._waiting.add(ids):
            self._settle()

    def merge(self, other: Distinct) -> None:
        self._settle()
        self._threshold = min(self._threshold, other.threshold)
        self._join(other.hashes)

    @property
    def estimate(self) -> float:
        """How many distinct ids there are."""
        return len(self.hashes) * _ALL_HASHES / self.threshold

    def new_in(self, other: Distinct) -> tuple[int, int]:
        """Of the other's distinct ids that can be compared: how many are not here; how many there are."""
        theirs = other.hashes[other.hashes < self.threshold]
        return int((~np.isin(theirs, self.hashes, assume_unique=True)).sum()), len(theirs)

    def parts(self) -> list[Any]:
        return [self.size, self.threshold, self.hashes.astype("<u4").tobytes()]

    @classmethod
    def of_parts(cls, parts: Sequence[Any]) -> Distinct:
        made = cls(parts[0])
        made._threshold, made._hashes = parts[1], np.frombuffer(parts[2], "<u4")
        return made

    def _settle(self) -> None:
        if waiting := self._waiting.take():
            self._join((farmhash64(waiting[0]) >> np.uint64(32)).astype(np.uint32))

    def _join(self, hashes: npt.NDArray[np.uint32]) -> None:
        both = np.union1d(self._hashes, hashes[hashes < self._threshold])
        both = both[both < self._threshold]
        if len(both) > self.size:
            self._threshold = int(both[self.size])
            both = both[: self.size]
        self._hashes = both
