"""From a source to a checkpoint, and back again for the proof."""

from __future__ import annotations

import os
import time
from pathlib import Path

from persia.config import EmbeddingConfig
from persia.errors import CorruptFile, DuplicateSign, InvalidInput
from persia.formats.layout import CHECKPOINT_MARKER
from persia.formats.marker import Marker
from persia.writers.buckets import MEMORY
from persia.writers.checkpoint import CheckpointWriter

from .plan import GroupImport, plan_import
from .reading import GroupReader, refuse_same_sign
from .report import REPORT, ImportedTable, ImportReport, SourceFile, write_report
from .source import Source
from .table_map import TableMap
from .verifying import Progress, difference, digests_of_checkpoint

__all__ = ["import_tables"]


def import_tables(
    source: Source,
    out: Path,
    *,
    format: str,
    origin: Path,
    config: EmbeddingConfig,
    table_map: TableMap,
    shards: int,
    files_per_shard: int = 8,
    overwrite: bool = False,
    allow_non_finite: bool = False,
    workers: int = 4,
    memory: int = MEMORY,
    progress: Progress = lambda step, done, total: None,
) -> ImportReport:
    """Writes the checkpoint `out`, reads it again, and leaves a report in it.

    Args:
        source: what open_source of a format made of `origin`.
        out: made if need be; treated as by write_checkpoint, which has no marker until all rows are on disk.
        format: the format's name, for the report.
        origin: where the source lies, for the report.
        config: the embedding config of the servers.
        table_map: which table has the rows of which slot.
        shards: how many embedding servers the checkpoint is for.
        files_per_shard: a file's signs are sorted in memory, 8 bytes each.
        overwrite: a finished checkpoint in `out` is removed, when all rows have been read.
        allow_non_finite: rows with NaN or infinite numbers are imported rather than being an error.
        workers: how many files are written at a time.
        memory: bytes for rows; what is beyond waits in a temporary file in `out`.
        progress: called with a step, and how many of its rows more are done, of how many.

    Raises:
        ConfigError, FeatureError, NotFound, NotRepresentable: the map fits neither the source nor the slots.
        InvalidInput: two keys share a row, or `out` is a finished checkpoint.
        CorruptFile: a file of the source is broken or has changed meanwhile, or the checkpoint is not what was read.
        OSError: the system refuses.
    """
    groups = plan_import(source, config, table_map)
    marker = Marker(shards, files_per_shard, *divmod(time.time_ns(), 1_000_000_000))
    with CheckpointWriter(out, marker, overwrite=overwrite, workers=workers, memory=memory) as writer:
        tables = _read_all(source, groups, writer, allow_non_finite, progress)
        try:
            writer.finish()
        except DuplicateSign as error:
            refuse_same_sign(groups, error.sign)
    report = ImportReport(
        format=format,
        source=str(origin),
        files=tuple(SourceFile(path=str(path), bytes=path.stat().st_size) for path in source.files),
        shards=shards,
        prefix_bits=config.feature_index_prefix_bit,
        tables=tuple(tables),
    )
    if problem := difference(report, digests_of_checkpoint(out, report, progress)):
        (out / CHECKPOINT_MARKER).unlink()  # so that no server takes it for a checkpoint
        raise CorruptFile(str(out), "the rows that were read", problem, 0)
    write_report(out / REPORT, report)
    return report


def _read_all(
    source: Source, groups: list[GroupImport], writer: CheckpointWriter, allow_non_finite: bool, progress: Progress
) -> list[ImportedTable]:
    before = _stamps(source)
    total = sum(group.rows for group in groups)
    if not total:
        raise InvalidInput("expected rows in the tables of the source, got none")
    tables = []
    for group in groups:
        reader = GroupReader(group, allow_non_finite=allow_non_finite)
        for signs, rows in reader.signed_blocks():
            writer.add(signs, rows)
            progress("read", len(signs), total)
        tables.append(reader.report())
    if changed := next((path for path, stamp in _stamps(source).items() if stamp != before[path]), None):
        raise CorruptFile(str(changed), "a file that stays as it is while it is read", "one that has changed", 0)
    return tables


def _stamps(source: Source) -> dict[Path, tuple[int, int, int]]:
    """What changes when a file does. Raises OSError."""
    statuses = {path: os.stat(path) for path in source.files}
    return {path: (status.st_ino, status.st_size, status.st_mtime_ns) for path, status in statuses.items()}
