"""Which epochs lookups of one context were answered from, so that none goes back, whoever answers it."""

from __future__ import annotations

import threading

__all__ = ["ReachedEpochs", "fell"]


class ReachedEpochs:
    """Any number of threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, int] = {}  # by variant; those that there are, as others have no answers

    def of(self, variant: str) -> int:
        """The newest epoch that was noted; 0: none, or that servers follow none any more."""
        return self._newest.get(variant, 0)

    def note(self, variant: str, epoch: int) -> None:
        """An answer was of the epoch. 0: of none, so servers do not follow epochs any more, and may begin with any."""
        if epoch == self._newest.get(variant, 0):
            return
        with self._lock:
            self._newest[variant] = max(epoch, self._newest.get(variant, 0)) if epoch else 0


def fell(epoch: int, reached: int) -> bool:
    """Whether an answer of that epoch goes back behind one that was reached before its lookup began."""
    return 0 < epoch < reached
