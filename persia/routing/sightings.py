"""Which signs come again: noted cheaply by whoever looks rows up, counted by a thread that has time."""

from __future__ import annotations

import random
import threading

import numpy as np
import numpy.typing as npt

__all__ = ["U64", "Sightings", "among"]

U64 = npt.NDArray[np.uint64]

# Until they are counted; of what comes beyond that, samples are noted as long as there is room, then nothing.
_NOTED = 1 << 16
# Signs that are known to have come once; the older half of them is forgotten at a time.
_REMEMBERED = 1 << 18

_DIM, _SIGNS = 2, 4  # columns of a request's parts


class Sightings:
    """Any thread may note, one may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: list[tuple[U64, npt.NDArray[np.uint32]]] = []
        self._room = _NOTED
        self._recent, self._older = np.empty(0, np.uint64), np.empty(0, np.uint64)  # sorted

    def note(self, parts: npt.NDArray[np.uint32], signs: U64) -> None:
        """The columns of a request (_core.ShardRequest) that was asked of the shard."""
        with self._lock:
            room = self._room
            if not room:
                return
            # At even distances, so that each feature has its share of what is noted.
            step = -(-len(signs) // room)
            chosen = slice(random.randrange(step), None, step) if step > 1 else slice(None)
            dims = np.repeat(parts[:, _DIM], parts[:, _SIGNS])
            self._noted.append((signs[chosen].copy(), dims[chosen]))  # copies: the request's memory goes with its plan
            self._room = max(0, room - len(self._noted[-1][0]))

    def take(self) -> tuple[U64, npt.NDArray[np.uint32]]:
        """Signs (n), each once, that have come again, and the dims (n) that they were asked with."""
        with self._lock:
            noted, self._noted, self._room = self._noted, [], _NOTED
        if not noted:
            return np.empty(0, np.uint64), np.empty(0, np.uint32)
        signs, dims = (np.concatenate(columns) for columns in zip(*noted, strict=True))
        distinct, first, counts = np.unique(signs, return_index=True, return_counts=True)
        again = (counts > 1) | among(distinct, self._recent) | among(distinct, self._older)
        self._recent = np.union1d(self._recent, distinct)
        if len(self._recent) > _REMEMBERED // 2:
            self._older, self._recent = self._recent, np.empty(0, np.uint64)
        return distinct[again], dims[first[again]]


def among(signs: U64, known: U64) -> npt.NDArray[np.bool_]:
    """Which of the signs (n) are among the known ones, which are sorted."""
    if not len(known):
        return np.zeros(len(signs), np.bool_)
    return np.equal(known[np.minimum(np.searchsorted(known, signs), len(known) - 1)], signs)
