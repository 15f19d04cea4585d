"""Rows that wait to be written: the latest of each sign."""

from __future__ import annotations

import numpy as np

from .buckets import F32, U64


class RowBuffer:
    """Counts signs exactly, and keeps a row that was overwritten for at most as long as it takes the buffer to double."""

    def __init__(self) -> None:
        self._row_of: dict[int, int] = {}  # sign -> the number of its latest row, counted through all blocks
        self._blocks: list[tuple[U64, F32]] = []
        self._rows = 0

    def __len__(self) -> int:
        """Signs."""
        return len(self._row_of)

    def add(self, signs: U64, rows: F32) -> None:
        """Takes signs (n), rows (n, dim), and copies both: a trainer goes on to use its arrays."""
        if not len(signs):
            return
        self._blocks.append((signs.copy(), rows.copy()))
        self._row_of.update(zip(signs.tolist(), range(self._rows, self._rows + len(signs)), strict=True))
        self._rows += len(signs)
        if self._rows > 2 * len(self._row_of) + 4096:
            self._compact()

    def blocks(self) -> list[tuple[U64, F32]]:
        """Every sign once, in the order of their latest commits."""
        self._compact()
        return list(self._blocks)

    def _compact(self) -> None:
        if self._rows == len(self._row_of):
            return
        latest = np.zeros(self._rows, bool)
        latest[np.fromiter(self._row_of.values(), np.int64, len(self._row_of))] = True
        start, kept = 0, []
        for signs, rows in self._blocks:
            mask = latest[start : start + len(signs)]
            start += len(signs)
            if mask.any():
                kept.append((signs[mask], rows[mask]))
        self._blocks, self._rows = kept, len(self._row_of)
        order = np.concatenate([signs for signs, _ in kept]).tolist()
        self._row_of = dict(zip(order, range(self._rows), strict=True))
