"""tables.yml: which table of the source has the rows of which slot, and what the source did with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from persia.config import EmbeddingConfig, Slot
from persia.config.reader import read_struct
from persia.config.tree import parse_tree
from persia.errors import ConfigError, NotRepresentable

from .quantized import Kind

__all__ = ["MappedSlot", "TableMap", "check_slot", "load_table_map"]

Pooled = Literal["sum", "mean", "sqrtn", "none", "max", "min", "prod", "concat"]


class MappedSlot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A slot. What is left out is not checked: the embedding config counts."""

    table: Annotated[str, Meta(min_length=1, description="The name of the table in the source.")]
    pooling: Annotated[Pooled | None, Meta(description="What the source makes of the rows of a sample.")] = None
    quantized: Annotated[Kind | None, Meta(description="What the bytes of a quantised table of FBGEMM are.")] = None
    default: Annotated[str, Meta(description="What the source answers for an id without a row: zeros, or a row.")] = "zeros"
    modulo: Annotated[int, Meta(ge=1, description="The source takes ids modulo this number.")] | None = None
    padding: Annotated[int, Meta(ge=0, description="An id whose row counts as no row; it is left out.")] | None = None


class TableMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By the names of the slots."""

    slots: dict[str, MappedSlot]


def load_table_map(path: Path) -> TableMap:
    """Raises ConfigError, OSError."""
    return read_struct(parse_tree(path.read_bytes(), str(path)), TableMap)


def check_slot(name: str, mapped: MappedSlot, slot: Slot) -> None:
    """Whether the slot can have what the source does.

    Raises:
        NotRepresentable: the source does what no slot does.
        ConfigError: another slot than this one would do it.
    """
    place = f"$.slots.{name}"
    if mapped.default != "zeros":
        raise NotRepresentable(
            f"slot `{name}`: the source answers `{mapped.default}` for an id without a row, and here such an id has zeros. "
            "Have the client replace such ids by the id of that row, then write `default: zeros`"
        )
    if mapped.modulo is not None:
        raise NotRepresentable(
            f"slot `{name}`: the source takes ids modulo {mapped.modulo}, and here an id is taken as it comes. Have the client "
            f"send `ids % {mapped.modulo}`, then leave `modulo` out"
        )
    if slot.hash_stack_rounds:
        raise NotRepresentable(
            f"slot `{name}` has a hash stack, and no other system has rows for one: leave it out of the slot"
        )
    if mapped.pooling is None:
        return
    wanted = mapped.pooling if mapped.pooling in ("sum", "mean", "sqrtn") else "raw"
    if wanted != slot.pooling:
        hint = "" if wanted == mapped.pooling else ": the rows come raw, and the dense half does the rest"
        raise ConfigError(
            f"the source pools by `{mapped.pooling}`, which is `pooling: {wanted}` in the embedding config{hint}; it has "
            f"`pooling: {slot.pooling}`",
            place,
        )


def check_names(table_map: TableMap, config: EmbeddingConfig) -> None:
    """Raises ConfigError for slots that the embedding config has not, or for groups that have no table."""
    for name in table_map.slots:
        if name not in config.slots:
            raise ConfigError(f"the embedding config has no slot `{name}`", f"$.slots.{name}")
    covered = {config.slots[name].group for name in table_map.slots}
    for name, slot in config.slots.items():
        if slot.group not in covered:
            raise ConfigError(f"expected a table for each slot of the embedding config, got none for `{name}`", "$.slots")
