"""A table map and an embedding config to begin with, made of what a source has."""

from __future__ import annotations

import re
from pathlib import Path

from persia.errors import InvalidInput
from persia.system.durable import write_new_file

from .source import Source, SourceTable

__all__ = ["CONFIG", "MAP", "propose"]

CONFIG, MAP = "embedding_config.yml", "tables.yml"

_CONFIG_HEAD = """\
# Proposed by `persia-launcher import --propose`: a slot for each table that looks like one of embeddings.
# A slot has the name of a feature in requests, which most sources do not tell: rename the slots, here and in tables.yml.
# Features that share a table are slots of one feature group:
#   feature_groups: {group: [first_feature, second_feature]}
# Set `pooling` to what the model was trained with: sum, mean, sqrtn or raw. If the model takes ids modulo a number, give the
# slot `modulo: NUMBER`. `output: f32` gives the numbers that the source computes with; without it embeddings are float16, of
# which requests with many ids need less network.
"""
_MAP_HEAD = """\
# Proposed by `persia-launcher import --propose`. Each slot of the embedding config has the table with its rows.
# `pooling`, if it is given, is what the source does; the import then compares it with the embedding config.
"""


def propose(source: Source, directory: Path) -> list[str]:
    """Writes both files into `directory`, and returns the names of the tables that have a slot.

    Raises InvalidInput if a file is there already, or the source has no table; OSError.
    """
    # Where none looks like a table, a file without a slot would help nobody.
    slots = _slots([table for table in source.tables.values() if table.guess] or list(source.tables.values()))
    if not source.tables:
        raise InvalidInput(f"expected tables of embeddings in the source, got none: {_why_none(source)}")
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in ((CONFIG, _config(slots)), (MAP, _map(slots, source))):
        if not write_new_file(directory / name, text.encode()):
            raise InvalidInput(f"expected no {directory / name}, which is not replaced; there is one")
    return [table.name for table in slots.values()]


def _why_none(source: Source) -> str:
    if not source.packed:
        return source.why_no_table()
    names = ", ".join(f"`{name}`" for name in sorted(source.packed)[:20])
    return (
        f"the rows of {names} are bytes, as quantised tables of FBGEMM have them, and the file does not say of which kind and "
        "dim: write the embedding config and the table map by hand, with `quantized: int8`, `int4` or `float16` beside tables"
    )


def _slots(tables: list[SourceTable]) -> dict[str, SourceTable]:
    """A short name for each table: the part of its own that tells it from the others."""
    slots: dict[str, SourceTable] = {}
    for table in tables:
        parts = re.sub(r"\.weight$", "", table.name).split(".")
        short = next((name for i in range(len(parts)) if (name := ".".join(parts[-1 - i :])) not in slots), table.name)
        slots[short] = table
    return slots


def _config(slots: dict[str, SourceTable]) -> str:
    lines, bits = [_CONFIG_HEAD], 8
    if any(table.ids == "keys" for table in slots.values()):
        # The more bits are left to large keys, the less often two of them meet.
        bits = max(len(slots).bit_length(), 1)
        lines.append(f"feature_index_prefix_bit: {bits}\n")
    lines.append("slots_config:\n")
    for name, table in slots.items():
        # The largest id that stays as it is; keys that are hashes are that number as seldom as any other.
        default = "" if table.default is None else f", default_row: {{id: {(1 << (64 - bits)) - 2}}}"
        lines.append(f"  {_quoted(name)}: {{dim: {table.dim}, pooling: sum, output: f32{default}}}\n")
    return "".join(lines)


def _map(slots: dict[str, SourceTable], source: Source) -> str:
    lines = [_MAP_HEAD, "slots:\n"]
    for name, table in slots.items():
        default = "" if table.default is None else f", default: row {table.default}"
        lines.append(f"  {_quoted(name)}: {{table: {_quoted(table.name)}{default}}}  # {_facts(table)}\n")
    proposed = {table.name for table in slots.values()}
    if left := [table for table in source.tables.values() if table.name not in proposed]:
        lines.append("# These look like weights of layers, and not like tables:\n")
        lines += [f"#   {table.name}: {_facts(table)}\n" for table in left]
    if source.packed:
        lines.append("# These have rows of bytes. If they are quantised tables, write a slot for each, with `quantized`:\n")
        lines += [f"#   {name}: {{table: {_quoted(name)}, quantized: int8}}\n" for name in source.packed]
    return "".join(lines)


def _facts(table: SourceTable) -> str:
    assumed = f", {table.assumed}" if table.assumed else ""
    return f"{table.rows} rows of dim {table.dim}, by {'key' if table.ids == 'keys' else 'row number'}{assumed}"


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][\w.-]*", name) else "'" + name.replace("'", "''") + "'"
