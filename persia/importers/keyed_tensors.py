"""Tensors of ids beside those of rows, as people save tables of which they have only some rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from .arrays import keyed_table, numbered_table
from .numbers import INTEGERS
from .source import SourceTable
from .stored import StoredArray

__all__ = ["Described", "ids_beside", "reason_against", "table_of"]

Described: TypeAlias = tuple[tuple[int, ...], str]  # shape, type

_NAMES = ("ids", "keys", "id", "key")


def ids_beside(name: str, tensors: Mapping[str, Described]) -> str | None:
    """The name of a tensor of integers (n) that stands beside the tensor of that name: `user.ids` for `user.rows`."""
    stem, dot, _ = name.rpartition(".")
    for own in _NAMES:
        shape, dtype = tensors.get(beside := f"{stem}{dot}{own}", ((), ""))
        if len(shape) == 1 and dtype in INTEGERS:
            return beside
    return None


def reason_against(ids: str, tensors: Mapping[str, Described], rows: int) -> str:
    """Why the tensor of that name does not say the ids of so many rows; empty if it does."""
    (count,), _ = tensors[ids]
    return "" if count == rows else f"`{ids}` beside it has {count} ids, and it has {rows} rows: rename what are no ids"


def table_of(name: str, rows: StoredArray, ids: StoredArray | None, *, guess: bool) -> SourceTable:
    """By row number, or by the ids."""
    return numbered_table(name, rows, guess=guess) if ids is None else keyed_table(name, [(ids, rows)])
