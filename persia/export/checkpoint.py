"""The checkpoint of a model's tables, and on the way the rows that a sample needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from persia.config import EmbeddingConfig
from persia.errors import ExportError
from persia.signs import SignRule, signs_of
from persia.writers import write_checkpoint

from .features import UsedFeature
from .tables import F32, U64, Table

__all__ = ["SampleRows", "write_tables"]


class SampleRows:
    """The rows of some ids of a table; zeros for an id that has no row, which `found` tells."""

    def __init__(self, ids: U64, dim: int) -> None:
        self.ids = np.unique(ids)
        self.rows = np.zeros((len(self.ids), dim), np.float32)
        self.found = np.zeros(len(self.ids), bool)

    def gather(self, ids: U64, rows: F32) -> None:
        """Takes what is needed of a block of the table."""
        if not len(self.ids):
            return
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        hit = self.ids[places] == ids
        self.rows[places[hit]] = rows[hit]
        self.found[places[hit]] = True

    def places(self, ids: U64) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Where in `rows` the rows of these ids are. REQUIRES: they are among `ids`."""
        return np.searchsorted(self.ids, ids)


def write_tables(
    directory: Path, features: list[UsedFeature], config: EmbeddingConfig, shards: int, wanted: Mapping[Table, U64]
) -> tuple[dict[Table, SampleRows], dict[Table, int]]:
    """Writes all rows of all tables. wanted: ids of each table. Returns the rows of these, and how many rows each table has.

    Raises ExportError for ids that cannot have rows of their own, OSError.
    """
    gathered = {table: SampleRows(ids, table.dim) for table, ids in wanted.items()}
    counts: dict[Table, int] = {}
    # Any feature of a table will do: all of them have its group.
    first_of = {feature.table: feature for feature in reversed(features)}

    def blocks() -> Iterator[tuple[U64, F32]]:
        for table in wanted:
            slot = config.slots[first_of[table].name]
            seen = [np.empty(0, np.uint64)]
            for ids, rows in table.blocks():
                gathered[table].gather(ids, rows)
                signs = signs_of(ids, slot)[0]
                seen.append(signs)
                yield signs, rows
            of_table = np.concatenate(seen)
            counts[table] = len(of_table)
            of_table.sort()
            twice = of_table[1:][of_table[1:] == of_table[:-1]]
            if len(twice):
                raise _same_row(table, slot, int(twice[0]))

    write_checkpoint(directory, blocks(), shards=shards)
    return gathered, counts


def _same_row(table: Table, slot: SignRule, sign: int) -> ExportError:
    """Names the ids of one sign before the writer names the sign, which tells an author nothing."""
    one, other = [int(id) for ids, _ in table.blocks() for id in ids[signs_of(ids, slot)[0] == sign]][:2]
    if one == other:
        return ExportError(f"feature `{table.name}`: the table has two rows for the id {one}")
    return ExportError(
        f"feature `{table.name}`: the ids {one} and {other} fall on the same row, because an id counts modulo 2^56 - 1, or "
        "less where there are more than 255 tables: give the rows smaller ids"
    )
