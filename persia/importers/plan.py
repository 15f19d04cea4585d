"""What is to be read for which slots, settled before any row is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from persia.config import EmbeddingConfig, Slot
from persia.errors import ConfigError, FeatureError, InvalidInput

from .source import F32, U64, Block, Source, SourceTable
from .table_map import MappedSlot, TableMap, check_names, check_slot
from .unfinished import TableFacts

__all__ = ["GroupImport", "plan_import"]


@dataclass(frozen=True, eq=False)
class GroupImport:
    """The slots of a group share their rows, so one table has them. `slot` is any of them: all have the same signs."""

    slot: Slot
    slots: tuple[str, ...]
    table: SourceTable
    padding: int | None

    @property
    def facts(self) -> TableFacts:
        """What the rows of the group depend on, besides the files of the source."""
        table = self.table
        return TableFacts(
            table=table.name,
            slots=self.slots,
            prefix=self.slot.prefix,
            rows=table.rows,
            dim=table.dim,
            padding=self.padding,
            conversion=table.conversion,
        )

    def blocks(self) -> Iterator[Block]:
        """The rows of the table, without that of the padding. Raises InvalidInput if there are not as many as it said."""
        for _, ids, rows in self.counted_blocks():
            yield ids, rows

    def counted_blocks(self) -> Iterator[tuple[int, U64, F32]]:
        """As blocks(), and before each block how many rows the table has given up to its end."""
        seen = 0
        for ids, rows in self.table.blocks():
            seen += len(ids)
            if self.padding is not None and (ids == self.padding).any():
                kept = ids != self.padding
                ids, rows = ids[kept], rows[kept]
            yield seen, ids, rows
        if seen != self.table.rows:
            raise InvalidInput(f"expected {self.table.rows} rows of table `{self.table.name}`, got {seen}: its files changed")


def plan_import(source: Source, config: EmbeddingConfig, table_map: TableMap) -> list[GroupImport]:
    """A part for each group of slots, in the order of the embedding config.

    Raises ConfigError, FeatureError, NotFound or NotRepresentable for a map that fits neither the source nor the slots, and
    InvalidInput for tables without any row.
    """
    check_names(table_map, config)
    groups: dict[str, list[str]] = {}
    for name, slot in config.slots.items():
        if name in table_map.slots:
            check_slot(name, table_map.slots[name], slot)
            groups.setdefault(slot.group, []).append(name)
    plan = [_of_group(source, config, names, table_map.slots) for names in groups.values()]
    if not any(group.table.rows for group in plan):
        raise InvalidInput("expected rows in the tables of the source, got none")
    return plan


def _of_group(source: Source, config: EmbeddingConfig, names: list[str], mapped: dict[str, MappedSlot]) -> GroupImport:
    first = names[0]
    for name in names[1:]:
        ours, theirs = mapped[name], mapped[first]
        if (ours.table, ours.padding, ours.quantized) != (theirs.table, theirs.padding, theirs.quantized):
            raise ConfigError(
                f"`{first}` and `{name}` are in one feature group, so they have the same rows; they come from "
                f"`{theirs.table}` (padding {theirs.padding}) and `{ours.table}` (padding {ours.padding})",
                f"$.slots.{name}",
            )
    table = _table_of(source, mapped[first], config.slots[first].dim)
    for name in names:
        if config.slots[name].dim != table.dim:
            raise FeatureError(
                name,
                f"expected a table of dim {config.slots[name].dim}, as in the embedding config, got dim {table.dim} in "
                f"`{table.name}`",
            )
    return GroupImport(config.slots[first], tuple(names), table, mapped[first].padding)


def _table_of(source: Source, mapped: MappedSlot, dim: int) -> SourceTable:
    if mapped.quantized is None:
        return source.table(mapped.table)
    if mapped.table not in source.packed:
        table = source.table(mapped.table)
        raise ConfigError(f"`quantized: {mapped.quantized}` is for rows of bytes, and `{table.name}` has floats")
    return source.packed[mapped.table](mapped.quantized, dim)
