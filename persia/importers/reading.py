"""Rows on their way from a source: turned into signs, counted, checked and added to the digest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from persia._core import inexact_rows
from persia.errors import FeatureError, InvalidInput
from persia.signs import signs_of

from .digest import RowDigest
from .plan import GroupImport
from .report import ImportedTable
from .source import F32, U64, Block
from .unfinished import Taken

__all__ = ["GroupReader", "refuse_same_sign"]

HALF_MAX = float(np.finfo(np.float16).max)


class GroupReader:
    """Reads the rows of one group, once, from where it was left. `report` is complete when `signed_blocks` has ended."""

    def __init__(self, group: GroupImport, *, allow_non_finite: bool, taken: Taken) -> None:
        self._group = group
        self._allow_non_finite = allow_non_finite
        self._modulus = (1 << (64 - group.slot.prefix_bits)) - 1
        self._digest = RowDigest(taken.rows, taken.sums)
        self._seen, self._folded = taken.seen, taken.folded
        self._beyond_half, self._beyond_uint8 = taken.beyond_half, taken.beyond_uint8

    @property
    def taken(self) -> Taken:
        """Up to the end of the block that came last."""
        digest = self._digest
        return Taken(self._seen, digest.rows, digest.sums, self._folded, self._beyond_half, self._beyond_uint8)

    def signed_blocks(self) -> Iterator[Block]:
        """Signs (n) and rows (n, dim). Raises FeatureError for rows that are not finite, and what the source raises.

        What was taken before is read again, since checksums are of whole files, and nothing else is done with it. Raises
        InvalidInput if it ends within a block: the rest of the block could not be told from it.
        """
        skipped, left_at = 0, self._seen
        for seen, ids, rows in self._group.counted_blocks():
            if seen <= self._seen:
                skipped = seen
                continue
            if skipped < left_at:
                raise InvalidInput(
                    f"the import of table `{self._group.table.name}` was stopped after {left_at} rows, where no block of it "
                    "ends now, as by another release: what it had done is dropped, and the next import begins anew"
                )
            skipped = left_at
            self._check_numbers(ids, rows)
            signs = signs_of(ids, self._group.slot)[0]
            if self._group.slot.ids_are_signs:
                self._check_signs(signs)
            else:
                self._folded += int(np.count_nonzero(ids >= self._modulus))
            self._digest.add(signs, rows)
            if self._group.table.is_quantized:
                self._beyond_uint8 += inexact_rows("uint8", rows)
            self._seen = seen
            yield signs, rows

    def report(self) -> ImportedTable:
        table = self._group.table
        return ImportedTable(
            table=table.name,
            slots=self._group.slots,
            prefix=self._group.slot.prefix,
            rows=self._digest.rows,
            dim=table.dim,
            ids=table.ids,
            digest=str(self._digest),
            left_out=self._group.rows - self._digest.rows,
            folded=self._folded,
            beyond_half=self._beyond_half,
            beyond_uint8=self._beyond_uint8 if table.is_quantized else None,
            conversion=table.conversion,
        )

    def _check_signs(self, signs: U64) -> None:
        """Keys that are signs may not be those of a group, where another table has its rows."""
        groups = signs >> np.uint64(64 - self._group.slot.prefix_bits)
        taken = (groups >= 1) & (groups <= self._group.groups)
        if taken.any():
            key, group = int(signs[taken][0]), int(groups[taken][0]) - 1
            raise FeatureError(
                self._group.slots[0],
                f"the key {key} of table `{self._group.table.name}` would be a sign of group {group} of the embedding config: "
                "give all slots `ids_are_signs: true`, or this one a prefix",
            )

    def _check_numbers(self, ids: U64, rows: F32) -> None:
        if not len(rows):
            return
        largest = max(float(rows.max()), -float(rows.min()))  # NaN, where there is any
        if largest <= HALF_MAX:
            return
        finite = np.isfinite(rows).all(axis=1)
        if not (finite.all() or self._allow_non_finite):
            slot, table = self._group.slots[0], self._group.table.name
            raise FeatureError(
                slot,
                f"expected finite numbers in table `{table}`, got NaN or infinite ones in {np.count_nonzero(~finite)} rows, "
                f"the first of id {ids[~finite][0]}; `--allow-non-finite` imports them all the same",
            )
        if self._group.rounds:
            self._beyond_half += int(np.count_nonzero((np.abs(rows) > HALF_MAX).any(axis=1)))


def refuse_same_sign(groups: list[GroupImport], sign: int) -> NoReturn:
    """Reads the source again, to name the keys of that sign rather than the sign. Raises InvalidInput."""
    shift = 64 - groups[0].slot.prefix_bits
    found = (
        (group, int(id))
        for group in groups
        if group.slot.ids_are_signs or group.slot.prefix >> shift == sign >> shift
        for ids, _ in group.blocks()
        for id in ids[signs_of(ids, group.slot)[0] == sign]
    )
    (group, one), (second, other) = next(found), next(found)
    name = group.table.name
    if group is not second:
        raise InvalidInput(
            f"the tables `{name}` and `{second.table.name}` both have the key {one}, which is one sign by "
            "`ids_are_signs: true`. Such tables share all rows of equal keys, so give one of the slots a prefix"
        )
    if one == other and one in group.defaults:
        raise InvalidInput(f"table `{name}` has the key {one}, which is that of the default row: choose another `default_row`")
    if one == other:
        raise InvalidInput(
            f"table `{name}` has two rows for the key {one}: which of them counts, its own system would have to say"
        )
    raise InvalidInput(
        f"table `{name}`: the keys {one} and {other} would share a row, because a key counts modulo 2^{shift} - 1: choose a "
        f"`feature_index_prefix_bit` below {64 - shift}, or give one of them another key"
    )
