"""TorchRec's tables with managed collisions (ZCH): a row belongs to the raw id that was given its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.errors import InvalidInput

from .source import Block, SourceTable

__all__ = ["managed_tables", "with_raw_ids"]

_MODULE = re.compile(r"(.*)_managed_collision_collection\._managed_collision_modules\.([^.]+)\._mch_sorted_raw_ids")
_FREE = np.iinfo(np.int64).max  # stands in the place of an id where there is none

Integers = npt.NDArray[np.int64]


def with_raw_ids(
    tables: dict[str, SourceTable], names: Collection[str], integers: Callable[[str], list[Any]]
) -> dict[str, SourceTable]:
    """The tables, of which those with managed collisions have raw ids in the place of row numbers.

    names: all that the state_dict has. integers: reads a tensor of int64 by its name, in the parts of the processes that had
    it. Raises InvalidInput if the ids do not fit the table, and the errors of `integers`.
    """
    found = dict(tables)
    for weight, ids in managed_tables(names).items():
        if weight in tables:
            mapping = ids.replace("_mch_sorted_raw_ids", "_mch_remapped_ids_mapping")
            if mapping not in names:
                raise InvalidInput(f"expected `{mapping}` beside `{ids}`, which says what rows the ids have; there is none")
            raw, places = integers(ids), integers(mapping)
            found[weight] = _keyed(tables[weight], np.concatenate(raw), np.concatenate(places), len(raw))
    return found


def managed_tables(names: Iterable[str]) -> dict[str, str]:
    """By the name that a table with managed collisions would have, the name of its raw ids."""
    found: dict[str, str] = {}
    for name in names:
        if match := _MODULE.fullmatch(name):
            prefix, table = match.groups()
            found |= {f"{prefix}_embedding_module.{kind}.{table}.weight": name for kind in ("embedding_bags", "embeddings")}
    return found


def _keyed(table: SourceTable, raw: Integers, places: Integers, parts: int) -> SourceTable:
    """raw, places (n): the id raw[i] has the row places[i]. parts: of how many processes."""
    if raw.shape != places.shape or raw.ndim != 1 or len(np.unique(places)) != len(places):
        raise InvalidInput(f"expected a row of its own for each raw id of `{table.name}`, got {raw.shape} and {places.shape}")
    if len(places) and not 0 <= places.min() <= places.max() < table.rows:
        raise InvalidInput(f"expected rows below {table.rows} for the raw ids of `{table.name}`, got {places.max()}")
    id_of_row = np.full(table.rows, _FREE)
    id_of_row[places] = raw

    def blocks() -> Iterator[Block]:
        for numbers, rows in table.blocks():
            ids = id_of_row[numbers.astype(np.int64)]
            taken = ids != _FREE
            yield ids[taken].view(np.uint64), rows[taken]

    last = None if parts > 1 else len(raw) - 1
    default = f"ids that TorchRec has not seen have its row {last} there, which `default: row {last}` takes over"
    if last is None:
        default = f"ids that TorchRec has not seen have the last row of one of {parts} parts there, and no row here"
    conversion = f"{table.conversion}; {default}" if table.conversion else default
    count = int((id_of_row != _FREE).sum())
    return replace(table, rows=count, ids="keys", blocks=blocks, conversion=conversion, numbered=table.blocks, default=last)
