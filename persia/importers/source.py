"""What a module for a format makes of a source: tables, and for each a way through its rows in blocks."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from persia.errors import NotFound

__all__ = ["BLOCK_BYTES", "BLOCK_ROWS", "F32", "U64", "Block", "Source", "SourceTable", "rows_of_block"]

U64: TypeAlias = npt.NDArray[np.uint64]
F32: TypeAlias = npt.NDArray[np.float32]
Block: TypeAlias = tuple[U64, F32]  # ids (n), rows (n, dim)

_MOST_NAMES = 20  # of a message

BLOCK_ROWS = 1 << 16
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, eq=False)
class SourceTable:
    """A table as the source has it. `blocks` gives all of its rows, as often as it is called, and checks what it reads.

    `ids` says what the id of a row is: its number in the table, or a key that the source has beside the row.
    `conversion` says what becomes of the source's numbers: "" where they are float32 already.
    """

    name: str
    rows: int
    dim: int
    ids: Literal["rows", "keys"]
    blocks: Callable[[], Iterator[Block]]
    conversion: str = ""
    guess: bool = True  # whether it looks like an embedding table, to `--propose`
    assumed: str = ""  # what the files do not say of it, and was taken for granted
    is_quantized: bool = False  # whether its rows had few bits a number
    numbered: Callable[[], Iterator[Block]] | None = None  # with keys for some rows only: all of its rows, by their numbers
    default: int | None = None  # with `numbered`: the number of the row that the source answers for an id without a key


@dataclass(frozen=True, eq=False)
class Source:
    """`files` are all that are read. `others` has what the source has besides, with the reason why it is no table.

    `packed` makes tables of rows of bytes, of which the file does not say what they mean: by kind and dim.
    """

    files: tuple[Path, ...]
    tables: Mapping[str, SourceTable]
    others: Mapping[str, str] = field(default_factory=dict)
    packed: Mapping[str, Callable[[Any, int], SourceTable]] = field(default_factory=dict)

    def table(self, name: str) -> SourceTable:
        """The table of that name. Raises NotFound, which names the nearest one."""
        if name in self.tables:
            return self.tables[name]
        if name in self.packed:
            raise NotFound(
                f"the rows of `{name}` are bytes, as quantised tables of FBGEMM have them, and the file does not say of which "
                "kind: write `quantized: int8`, `int4` or `float16` beside the table in the table map"
            )
        if name in self.others:
            raise NotFound(f"the source has `{name}`, but it is not a table: {self.others[name]}")
        near = difflib.get_close_matches(name, [*self.tables, *self.packed], n=1)
        names = ", ".join(sorted([*self.tables, *self.packed])[:_MOST_NAMES])
        known = f"did you mean `{near[0]}`?" if near else f"its tables are {names}" if names else self.why_no_table()
        raise NotFound(f"the source has no table `{name}`: {known}")

    def why_no_table(self) -> str:
        """What a source without tables has, in words."""
        reasons = "; ".join(f"`{name}`: {reason}" for name, reason in sorted(self.others.items())[:_MOST_NAMES])
        return f"it has {reasons}" if reasons else "it is empty"


def rows_of_block(row_bytes: int) -> int:
    """How many rows of so many bytes are read at a time."""
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(row_bytes, 1)))
