"""What is to be read for which slots, settled before any row is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from persia.config import EmbeddingConfig, Slot
from persia.errors import ConfigError, FeatureError, InvalidInput

from .source import F32, U64, Block, Source, SourceTable
from .table_map import MappedSlot, TableMap, check_names, check_slot, default_row_of
from .unfinished import TableFacts

__all__ = ["GroupImport", "plan_import"]


@dataclass(frozen=True, eq=False)
class GroupImport:
    """The slots of a group share their rows, so one table has them. `slot` is any of them, without its modulo.

    `modulo` is the largest of the slots, of whose lookups none asks for a key from there on; 0: one of them asks for any key.
    `keeps_padding`: a slot has a default row, which an id without a row would get, so the row of the padding is zeros.
    `defaults` are rows that have no key, by the id under which they are imported; `default_keys` are keys of rows that a slot's
    default row is. `groups` is how many groups of the embedding config have a prefix. `rounds`: a slot serves float16.
    """

    slot: Slot
    slots: tuple[str, ...]
    table: SourceTable
    padding: int | None
    modulo: int
    keeps_padding: bool
    defaults: Mapping[int, int]
    default_keys: frozenset[int]
    groups: int
    rounds: bool

    @property
    def rows(self) -> int:
        """How many there are, with that of the padding."""
        return self.table.rows + len(self.defaults)

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
            modulo=self.modulo,
            keeps_padding=self.keeps_padding,
            defaults=tuple(sorted(self.defaults.items())),
            default_keys=tuple(sorted(self.default_keys)),
        )

    def blocks(self) -> Iterator[Block]:
        """The rows of the table, and what of the padding's is kept. Raises InvalidInput if they are not what was said."""
        for _, ids, rows in self.counted_blocks():
            yield ids, rows

    def counted_blocks(self) -> Iterator[tuple[int, U64, F32]]:
        """As blocks(), and before each block how many rows the table has given up to its end."""
        seen = 0
        awaited = set(self.default_keys)
        if self.keeps_padding and self.padding is not None:
            awaited.add(self.padding)
        for ids, rows in self.table.blocks():
            seen += len(ids)
            self._check_keys(ids)
            if awaited:
                awaited.difference_update([id for id in awaited if (ids == id).any()])
            yield seen, *self._padded(ids, rows)
        if seen != self.table.rows:
            raise InvalidInput(f"expected {self.table.rows} rows of table `{self.table.name}`, got {seen}: its files changed")
        self._check_found(awaited)
        for ids, rows in self._default_rows():
            seen += len(ids)
            yield seen, ids, rows

    def _padded(self, ids: U64, rows: F32) -> Block:
        """The block with zeros in the row of the padding, or without that row."""
        if self.padding is None or not (padding := ids == self.padding).any():
            return ids, rows
        return (ids, np.where(padding[:, None], np.float32(0), rows)) if self.keeps_padding else (ids[~padding], rows[~padding])

    def _check_keys(self, ids: U64) -> None:
        """Raises InvalidInput for a key that no lookup asks for: most often the modulo is not that of the source."""
        if self.modulo and len(beyond := ids[ids >= self.modulo]):
            raise InvalidInput(
                f"table `{self.table.name}` has the key {beyond[0]}, and lookups ask for keys below `modulo: {self.modulo}` "
                "alone: give the slot the modulo of the source"
            )

    def _check_found(self, awaited: set[int]) -> None:
        """Raises InvalidInput for keys without a row that are wanted for ids without a row."""
        if missing := awaited & self.default_keys:
            raise InvalidInput(f"table `{self.table.name}` has no row {min(missing)}, which is to be the default row")
        if awaited:
            raise InvalidInput(
                f"table `{self.table.name}` has no row {self.padding} for its `padding`, so that id would get the default row: "
                "leave `padding` out, and have clients leave out the id"
            )

    def _default_rows(self) -> Iterator[Block]:
        left = dict(self.defaults)
        for numbers, rows in self.table.numbered() if left and self.table.numbered is not None else ():
            for id, row in [(id, row) for id, row in left.items() if (numbers == row).any()]:
                yield np.array([id], np.uint64), rows[numbers == row]
                del left[id]
        if left:
            raise InvalidInput(f"table `{self.table.name}` has no row {min(left.values())}, which is to be the default row")


def plan_import(source: Source, config: EmbeddingConfig, table_map: TableMap) -> list[GroupImport]:
    """A part for each group of slots, in the order of the embedding config.

    Raises ConfigError, FeatureError, NotFound or NotRepresentable for a map that fits neither the source nor the slots, and
    InvalidInput for tables without any row.
    """
    check_names(table_map, config)
    groups: dict[tuple[bool, str], list[str]] = {}
    for name, slot in config.slots.items():
        if name in table_map.slots:
            check_slot(name, table_map.slots[name], slot)
            shared = table_map.slots[name].table if slot.ids_are_signs else slot.group
            groups.setdefault((slot.ids_are_signs, shared), []).append(name)
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
    slots = [config.slots[name] for name in names]
    defaults = _defaults(table, [(config.slots[name], mapped[name]) for name in names])
    return GroupImport(
        msgspec.structs.replace(slots[0], modulo=0),
        tuple(names),
        table,
        padding=mapped[first].padding,
        modulo=max(slot.modulo for slot in slots) if all(slot.modulo for slot in slots) else 0,
        keeps_padding=any(slot.default_id is not None or slot.default_value is not None for slot in slots),
        defaults=defaults if table.numbered is not None else {},
        default_keys=frozenset(() if table.numbered is not None else defaults),
        groups=max(slot.group_number + 1 for slot in config.slots.values()),
        rounds=any(slot.output != "f32" for slot in slots),
    )


def _defaults(table: SourceTable, slots: list[tuple[Slot, MappedSlot]]) -> dict[int, int]:
    """By the ids of default rows, the rows that the map names. Raises ConfigError for an id that is not that of its row."""
    defaults: dict[int, int] = {}
    for slot, mapped in slots:
        row, id = default_row_of(mapped), slot.default_id
        if row is None or id is None:
            continue
        if defaults.setdefault(id, row) != row or (table.numbered is None and id != row):
            other = defaults[id] if table.numbered is not None else id
            raise ConfigError(
                f"the default row of the source is `row {row}`, and `default_row: {{id: {id}}}` of the embedding config is row "
                f"{other} of table `{table.name}`",
                f"$.slots.{slot.name}.default",
            )
        if table.numbered is not None:
            _check_free_id(slot, id)
    return defaults


def _check_free_id(slot: Slot, id: int) -> None:
    """Raises ConfigError for an id of a row without a key whose sign is that of a smaller one, which may be a key some day."""
    modulus = (1 << (64 - slot.prefix_bits)) - 1
    if id >= modulus and not slot.ids_are_signs:
        raise ConfigError(
            f"`default_row: {{id: {id}}}` has the sign of the id {id % modulus}, because an id counts modulo {modulus}: a "
            f"packet with a row for that id would replace the default row. Take {modulus - 1}, or another id below "
            f"{modulus} that no key is",
            f"$.slots.{slot.name}.default",
        )


def _table_of(source: Source, mapped: MappedSlot, dim: int) -> SourceTable:
    if mapped.quantized is None:
        return source.table(mapped.table)
    if mapped.table not in source.packed:
        table = source.table(mapped.table)
        raise ConfigError(f"`quantized: {mapped.quantized}` is for rows of bytes, and `{table.name}` has floats")
    return source.packed[mapped.table](mapped.quantized, dim)
