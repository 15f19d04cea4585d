"""Imports in few words, for tests: a config and a map for some tables, and the rows that then stand in the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.config import EmbeddingConfig, SlotConfig
from persia.importers import ImportReport, MappedSlot, TableMap, import_tables
from persia.importers.formats import open_source
from persia.importers.source import SourceTable
from persia.signs import signs_of
from tests.support.places import DATA
from tests.support.written import Rows, read_checkpoint

DUMPS = DATA / "dumps"
TORCHREC = DUMPS / "torchrec"


def config_of(dims: dict[str, int], **settings: Any) -> EmbeddingConfig:
    return EmbeddingConfig(slots_config={name: SlotConfig(dim=dim) for name, dim in dims.items()}, **settings)


def import_into(out: Path, format: str, path: Path, tables: dict[str, str], **settings: Any) -> ImportReport:
    """Imports tables of the source by slot. settings: `config`, `table_map`, or what import_tables takes."""
    source = open_source(format, path)
    config = settings.pop("config", None) or config_of({slot: source.table(name).dim for slot, name in tables.items()})
    table_map = settings.pop("table_map", None) or TableMap(
        slots={slot: MappedSlot(table=name) for slot, name in tables.items()}
    )
    settings = {"shards": 2, "files_per_shard": 2} | settings
    return import_tables(source, out, format=format, origin=path, config=config, table_map=table_map, **settings)


def all_rows(table: SourceTable) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    ids, rows = zip(*table.blocks(), strict=True)
    return np.concatenate(ids), np.concatenate(rows)


def expected_rows(config: EmbeddingConfig, tables: dict[str, tuple[Any, Any]]) -> Rows:
    """The bytes of each row by its sign. tables: ids and rows by slot."""
    return {
        int(sign): np.asarray(row, np.float32).tobytes()
        for slot, (ids, rows) in tables.items()
        for sign, row in zip(signs_of(np.asarray(ids, np.uint64), config.slots[slot])[0], rows, strict=True)
    }


__all__ = ["DUMPS", "TORCHREC", "all_rows", "config_of", "expected_rows", "import_into", "read_checkpoint"]
