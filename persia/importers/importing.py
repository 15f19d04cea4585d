"""From a source to a checkpoint, and back again for the proof."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from persia.config import EmbeddingConfig
from persia.errors import CorruptFile, InvalidInput
from persia.formats.marker import Marker
from persia.writers.buckets import MEMORY
from persia.writers.growing import check_counts
from persia.writers.targets import DirectoryTarget

from .plan import plan_import
from .report import ImportReport
from .source import Source
from .steps import Steps
from .table_map import TableMap
from .unfinished import Identity, begun, empty, opened_work, stamps_of
from .verifying import Progress

__all__ = ["SAVE_EVERY", "import_tables"]

SAVE_EVERY = 1 << 30  # bytes of rows: what an import that is stopped has to do again, at most


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
    restart: bool = False,
    allow_non_finite: bool = False,
    workers: int = 4,
    memory: int = MEMORY,
    save_every: int = SAVE_EVERY,
    progress: Progress = lambda step, done, total: None,
) -> ImportReport:
    """Writes the checkpoint `out`, reads it again, and leaves a report in it. An import that was stopped there goes on.

    Args:
        source: what open_source of the format of that name made of `origin`.
        out: made if need be. It has no marker until all rows are on disk and proved.
        format: for the report, as is `origin`.
        origin: where the source lies.
        config: the embedding config of the servers.
        table_map: which table has the rows of which slot.
        shards: how many embedding servers the checkpoint is for.
        files_per_shard: the signs of a file are sorted in memory for the proof, 8 bytes each.
        overwrite: a finished checkpoint in `out` is removed, when all rows are proved, rather than being an error.
        restart: an import that was stopped in `out` is dropped, also one of another source, rather than being gone on with.
        allow_non_finite: rows with NaN or infinite numbers are imported rather than being an error.
        workers: how many files are read at a time for the proof.
        memory: bytes of rows that wait to be written.
        save_every: after how many bytes of rows all is put on disk, for another import to go on from there.
        progress: called with a step, and how many of its rows more are done, of how many.

    Raises:
        ConfigError, FeatureError, NotFound, NotRepresentable: the map fits neither the source nor the slots.
        InvalidInput: two keys share a row, `out` is a finished checkpoint, or an import of something else was stopped there.
        CorruptFile: a file of the source is broken or has changed meanwhile, or the checkpoint is not what was read.
        Unavailable: another import is writing to `out`.
        OSError: the system refuses.
    """
    groups = plan_import(source, config, table_map)
    check_counts(Marker(shards, files_per_shard, 0, 0))
    counts = shards, files_per_shard, config.feature_index_prefix_bit
    stamps, tables = stamps_of(source.files, origin), tuple(group.facts for group in groups)
    identity = Identity(format, stamps, tables, *counts, allow_non_finite)
    with opened_work(out, identity, restart=restart) as (work, before):
        target = DirectoryTarget(out)
        if before is None or not before.cleared:
            target.begin(shards, overwrite=overwrite)
        steps = Steps(groups, work, before or begun(identity), progress)
        if steps.state.report is None:
            with _dropped_if_refused(work):
                steps.read(memory, save_every)
                steps.prove(source, origin, workers)
        return steps.install(target)


@contextmanager
def _dropped_if_refused(work: Path) -> Iterator[None]:
    """With another source, or another map, there is nothing to go on with."""
    try:
        yield
    except (InvalidInput, CorruptFile):
        empty(work)
        raise
