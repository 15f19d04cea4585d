"""HugeCTR's sparse models, which its parameter server (HPS) loads: a directory for each table, with keys and rows.

Its collections of embeddings and the dumps of the newer SparseOperationKit are other layouts, and found by their own files.
"""

from __future__ import annotations

from pathlib import Path

from persia.errors import CorruptFile, InvalidInput

from . import hugectr_collections, sok_files
from .raw_pairs import paired_table
from .source import Source, SourceTable

__all__ = ["open_source"]

KEY, ROWS = "key", "emb_vector"
BESIDE = ("meta", "slot_id")  # 8 bytes for each key, if they are there


def open_source(path: Path) -> Source:
    """Tables have the names of their directories. Raises CorruptFile, InvalidInput, OSError."""
    if (path / sok_files.META).exists():
        return sok_files.open_source(path)
    if hugectr_collections.collections_in(path):
        return hugectr_collections.open_source(path)
    directories = [path] if (path / KEY).exists() else sorted(file.parent for file in path.glob(f"*/{KEY}"))
    if not directories:
        raise InvalidInput(
            f"expected files `{KEY}` and `{ROWS}` in {path}, or in directories of it, one for each table; there are none"
        )
    tables = {directory.resolve().name: _table(directory) for directory in directories}
    return Source(tuple(directory / name for directory in directories for name in (KEY, ROWS)), tables)


def _table(directory: Path) -> SourceTable:
    if not (directory / ROWS).exists():
        raise CorruptFile(str(directory), f"a file `{ROWS}` beside `{KEY}`", "none: the table is not complete", 0)
    table = paired_table(directory.resolve().name, [(directory / KEY, directory / ROWS)])
    for name in BESIDE:
        beside = directory / name
        if beside.exists() and (size := beside.stat().st_size) != 8 * table.rows:
            raise CorruptFile(str(beside), f"8 bytes for each of {table.rows} keys", f"{size} bytes", min(size, 8 * table.rows))
    return table
