"""A fair sample of whole rows, for the domain classifier: every row that came has the same chance to be in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RowSample"]

WINDOW_ROWS, REFERENCE_ROWS = 256, 1000


class RowSample:
    """Each row draws a number, and those with the smallest stay; so samples of several streams merge into one of all.

    The first rows decide on the columns. Rows with other columns are left out.
    """

    def __init__(self, size: int = WINDOW_ROWS) -> None:
        self.size = size
        self.columns: tuple[str, ...] = ()
        self.rows: npt.NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._draws: npt.NDArray[np.float64] = np.empty(0)

    def add(self, columns: Sequence[str], rows: npt.NDArray[np.float32], generator: np.random.Generator) -> None:
        """Some of them, (n, columns)."""
        self._join(tuple(columns), rows, generator.random(len(rows)))

    def merge(self, other: RowSample) -> None:
        self._join(other.columns, other.rows, other._draws)

    def parts(self) -> list[Any]:
        return [self.size, self.columns, self.rows.astype("<f4").tobytes(), self._draws.astype("<f8").tobytes()]

    @classmethod
    def of_parts(cls, parts: Sequence[Any]) -> RowSample:
        made = cls(parts[0])
        made.columns = tuple(parts[1])
        made._draws = np.frombuffer(parts[3], "<f8")
        made.rows = np.frombuffer(parts[2], "<f4").reshape(len(made._draws), len(made.columns))
        return made

    def _join(self, columns: tuple[str, ...], rows: npt.NDArray[np.float32], draws: npt.NDArray[np.float64]) -> None:
        if not len(rows) or not columns:
            return
        if not len(self.rows):
            self.columns, self.rows = columns, np.empty((0, len(columns)), np.float32)
        if columns != self.columns:
            return
        draws = np.concatenate([self._draws, draws])
        kept = np.argsort(draws)[: self.size]
        self.rows, self._draws = np.concatenate([self.rows, rows])[kept], draws[kept]
