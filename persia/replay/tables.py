"""The tables of an epoch as its servers had them, with the rows of some signs alone."""

from __future__ import annotations

import numpy as np

from persia import _core

from .rows import RowFiles, State

__all__ = ["EpochTables"]


class EpochTables:
    """One table for each shard, at one state of the rows. Made anew for another second only where some row ends."""

    def __init__(self, files: RowFiles, state: State, storage: str) -> None:
        self._files, self._state, self._storage = files, state, storage
        self._has_ends = bool(state.ends.any())
        self._second: int | None = None
        self._tables: list[_core.Table] = []

    def snapshots(self, second: int) -> list[_core.Snapshot]:
        """What lookups at that unix second read: rows whose end has come are gone."""
        second = second if self._has_ends else 0
        if self._second != second:
            self._tables = [self._table(shard, second) for shard in range(self._files.shards)]
            self._second = second
        return [table.pin() for table in self._tables]

    def _table(self, shard: int, second: int) -> _core.Table:
        builder = _core.TableBuilder(self._storage)
        for dim in np.unique(self._state.dims[self._state.dims > 0]).tolist():
            builder.put(*self._files.rows_of(self._state, dim, shard, second))
        return _core.Table(builder)
