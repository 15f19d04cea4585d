"""Changes that wait to be written: the latest of each sign."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .buckets import F32, U64


@dataclass(frozen=True)
class Change:
    """`signs` (n) and what becomes of them: `rows` (n, dim), or None where they are deleted.

    `ends` (n): the unix second at which each row ends, 0 for one that has no end; None: none has one.
    """

    signs: U64
    rows: F32 | None
    ends: U64 | None = None

    def __len__(self) -> int:
        return len(self.signs)

    def part(self, which: slice | npt.NDArray[np.bool_]) -> Change:
        """Some of the signs."""
        rows, ends = self.rows, self.ends
        return Change(self.signs[which], None if rows is None else rows[which], None if ends is None else ends[which])

    def copy(self) -> Change:
        """With arrays of its own."""
        rows, ends = self.rows, self.ends
        return Change(self.signs.copy(), None if rows is None else rows.copy(), None if ends is None else ends.copy())


class RowBuffer:
    """Counts signs exactly, and keeps a row that was overwritten for at most as long as it takes the buffer to double."""

    def __init__(self) -> None:
        self._row_of: dict[int, int] = {}  # sign -> the number of its latest change, counted through all blocks
        self._blocks: list[Change] = []
        self._rows = 0

    def __len__(self) -> int:
        """Signs."""
        return len(self._row_of)

    def add(self, change: Change) -> None:
        """Takes a change and copies its arrays: a trainer goes on to use its own."""
        if not len(change):
            return
        self._blocks.append(change.copy())
        self._row_of.update(zip(change.signs.tolist(), range(self._rows, self._rows + len(change)), strict=True))
        self._rows += len(change)
        if self._rows > 2 * len(self._row_of) + 4096:
            self._compact()

    def blocks(self) -> list[Change]:
        """Every sign once, in the order of their latest changes."""
        self._compact()
        return list(self._blocks)

    def _compact(self) -> None:
        if self._rows == len(self._row_of):
            return
        latest = np.zeros(self._rows, bool)
        latest[np.fromiter(self._row_of.values(), np.int64, len(self._row_of))] = True
        start, kept = 0, []
        for change in self._blocks:
            mask = latest[start : start + len(change)]
            start += len(change)
            if mask.any():
                kept.append(change.part(mask))
        self._blocks, self._rows = kept, len(self._row_of)
        order = np.concatenate([change.signs for change in kept]).tolist()
        self._row_of = dict(zip(order, range(self._rows), strict=True))
