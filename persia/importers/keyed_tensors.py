"""Tensors of ids beside those of rows, as people save tables of which they have only some rows."""

from __future__ import annotations

from collections.abc import Container

from .arrays import keyed_table, numbered_table
from .numbers import INTEGERS
from .source import SourceTable
from .stored import StoredArray

__all__ = ["ids_beside", "reason_against", "table_of"]

_NAMES = ("ids", "keys", "id", "key")


def ids_beside(name: str, names: Container[str]) -> str | None:
    """The name that a tensor of ids has, if one stands beside the tensor of that name: `user.ids` for `user.rows`."""
    stem, dot, _ = name.rpartition(".")
    return next((beside for own in _NAMES if (beside := f"{stem}{dot}{own}") in names), None)


def reason_against(ids: str, shape: tuple[int, ...], dtype: str, rows: int) -> str:
    """Why the tensor of that name does not say the ids of so many rows; empty if it does."""
    if dtype in INTEGERS and shape == (rows,):
        return ""
    return f"`{ids}` stands beside it, and is {shape} of {dtype} rather than an integer for each of its {rows} rows: rename it"


def table_of(name: str, rows: StoredArray, ids: StoredArray | None, *, guess: bool) -> SourceTable:
    """By row number, or by the ids."""
    return numbered_table(name, rows, guess=guess) if ids is None else keyed_table(name, [(ids, rows)])
