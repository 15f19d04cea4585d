"""tables.yml: which table of the source has the rows of which slot, and what the source did with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from persia.config import EmbeddingConfig, Slot
from persia.config.reader import read_struct
from persia.config.tree import parse_tree
from persia.errors import ConfigError, NotRepresentable

from .quantized import Kind

__all__ = ["MappedSlot", "TableMap", "check_slot", "default_row_of", "load_table_map"]

_ROW = re.compile(r"row (\d{1,20})")

Pooled = Literal["sum", "mean", "sqrtn", "none", "max", "min", "prod", "concat"]


class MappedSlot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A slot. What is left out is not checked: the embedding config counts."""

    table: Annotated[str, Meta(min_length=1, description="The name of the table in the source.")]
    pooling: Annotated[Pooled | None, Meta(description="What the source makes of the rows of a sample.")] = None
    quantized: Annotated[Kind | None, Meta(description="What the bytes of a quantised table of FBGEMM are.")] = None
    default: Annotated[
        str | None,
        Meta(description="What the source answers for an id without a row: `zeros`, a number, or `row N`."),
    ] = None
    modulo: Annotated[int, Meta(ge=1, description="The source takes ids modulo this number.")] | None = None
    padding: Annotated[int, Meta(ge=0, description="An id whose row counts as no row; it is left out, or zeros.")] | None = None


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
    _check_default(mapped, slot, f"{place}.default")
    if mapped.modulo is not None and mapped.modulo != slot.modulo:
        raise ConfigError(
            f"the source takes ids modulo {mapped.modulo}, which is `modulo: {mapped.modulo}` in the embedding config; it has "
            f"`modulo: {slot.modulo}`",
            f"{place}.modulo",
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


def default_row_of(mapped: MappedSlot) -> int | None:
    """The number or key of the row that the source answers for an id without one; None: it answers no row of its own."""
    found = _ROW.fullmatch(mapped.default or "")
    return int(found[1]) if found else None


def _check_default(mapped: MappedSlot, slot: Slot, place: str) -> None:
    """Raises ConfigError unless the embedding config says what the source does."""
    if mapped.default is None:
        return
    if default_row_of(mapped) is not None:
        wanted, fits = "{id: ...}, with the id of that row", slot.default_id is not None
    elif mapped.default == "zeros":
        wanted, fits = "", slot.default_id is None and slot.default_value is None
    else:
        try:
            value = float(np.float32(mapped.default))
        except ValueError:
            raise ConfigError(f"expected `zeros`, a number or `row N`, got `{mapped.default}`", place) from None
        fits = slot.default_value is not None and float(np.float32(slot.default_value)) == value
        wanted = f"{{value: {mapped.default}}}"
    if not fits:
        form = f"which is `default_row: {wanted}` in the embedding config" if wanted else "and the config has a default row"
        raise ConfigError(f"the source answers `{mapped.default}` for an id without a row, {form}", place)


def check_names(table_map: TableMap, config: EmbeddingConfig) -> None:
    """Raises ConfigError for slots that the embedding config has not, or for groups that have no table."""
    for name in table_map.slots:
        if name not in config.slots:
            raise ConfigError(f"the embedding config has no slot `{name}`", f"$.slots.{name}")
    covered = {config.slots[name].group for name in table_map.slots}
    for name, slot in config.slots.items():
        if slot.group not in covered:
            raise ConfigError(f"expected a table for each slot of the embedding config, got none for `{name}`", "$.slots")
