"""Arrays that wait until there are enough of them: numpy takes longer to begin some work than to do it for a small batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Waiting"]

_ENOUGH, _MOST_ARRAYS = 2048, 256


class Waiting:
    """Columns of arrays of one length. They are copied, so that no batch is kept for them."""

    def __init__(self, columns: int) -> None:
        self._columns: list[list[npt.NDArray[Any]]] = [[] for _ in range(columns)]
        self._count = 0

    def add(self, *arrays: npt.NDArray[Any]) -> bool:
        """Returns whether there are enough."""
        for column, array in zip(self._columns, arrays, strict=True):
            column.append(array.copy())
        self._count += len(arrays[0])
        return self._count >= _ENOUGH or len(self._columns[0]) >= _MOST_ARRAYS

    def take(self) -> list[npt.NDArray[Any]] | None:
        """Each column as one array; None if nothing waits."""
        if not self._columns[0]:
            return None
        taken = [column[0] if len(column) == 1 else np.concatenate(column) for column in self._columns]
        self._columns, self._count = [[] for _ in taken], 0
        return taken
