"""The steps of an import, each of which can be stopped at any time and gone on with later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from persia.errors import CorruptFile, DuplicateSign
from persia.formats.layout import CHECKPOINT_MARKER
from persia.formats.marker import Marker
from persia.writers.growing import GrowingCheckpoint, install, work_files
from persia.writers.targets import DirectoryTarget

from .plan import GroupImport
from .reading import GroupReader, refuse_same_sign
from .report import REPORT, ImportedTable, ImportReport, SourceFile, write_report
from .source import Source
from .unfinished import Taken, Unfinished, stamps_of
from .verifying import Progress, difference, digests_of_files

__all__ = ["Steps"]


class Steps:
    """read(), prove() and install(), in this order. `state` is on disk whenever a step has got to where one can go on."""

    def __init__(self, groups: list[GroupImport], work: Path, state: Unfinished, progress: Progress) -> None:
        self.state = state
        self._groups = groups
        self._work = work
        self._progress = progress
        self._total = sum(group.rows for group in groups)
        identity = state.identity
        self._marker = Marker(identity.shards, identity.files_per_shard, state.seconds, state.nanos)

    def read(self, memory: int, save_every: int) -> None:
        """Writes all rows to files in the work directory. Raises what the source raises, and OSError."""
        checkpoint = GrowingCheckpoint(self._work, self._marker, saved=self.state.saved, memory=memory)
        tables, taken, unsaved = list(self.state.tables), self.state.taken, 0
        if before := sum(table.rows + table.left_out for table in tables) + taken.seen:
            self._progress("skip", before, before)
        for group in self._groups[len(tables) :]:
            reader = GroupReader(group, allow_non_finite=self.state.identity.allow_non_finite, taken=taken)
            for signs, rows in reader.signed_blocks():
                checkpoint.add(signs, rows)
                self._progress("read", len(signs), self._total - before)
                unsaved += rows.nbytes
                if unsaved >= save_every:
                    self._save(checkpoint, tables, reader.taken)
                    unsaved = 0
            tables.append(reader.report())
            taken = Taken()
        self._save(checkpoint, tables, taken)
        checkpoint.finish()

    def _save(self, checkpoint: GrowingCheckpoint, tables: list[ImportedTable], taken: Taken) -> None:
        self._note(saved=checkpoint.save(), tables=tuple(tables), taken=taken)

    def prove(self, source: Source, origin: Path, workers: int) -> None:
        """Reads all rows again, where they are now, and compares them with what was read.

        Raises InvalidInput for two keys that share a row; CorruptFile for other rows, or a source that has changed; OSError.
        """
        identity = self.state.identity
        now = stamps_of(source.files, origin)
        if changed := next(
            (path for path, was, is_now in zip(source.files, identity.files, now, strict=True) if was != is_now), None
        ):
            raise CorruptFile(str(changed), "a file that stays as it is while it is read", "one that has changed", 0)
        report = ImportReport(
            format=identity.format,
            source=str(origin),
            files=tuple(SourceFile(path=str(path), bytes=stamp.bytes) for path, stamp in zip(source.files, now, strict=True)),
            shards=identity.shards,
            prefix_bits=identity.prefix_bits,
            tables=self.state.tables,
        )
        files = work_files(self._work, self._marker)
        try:
            found = digests_of_files(files, identity.shards, identity.prefix_bits, self._verified, workers)
        except DuplicateSign as error:
            refuse_same_sign(self._groups, error.sign)
        if problem := difference(report, found):
            raise CorruptFile(str(self._work), "the rows that were read", problem, 0)
        self._note(report=report)

    def install(self, target: DirectoryTarget) -> ImportReport:
        """The files come to their place, and the marker last. Raises OSError."""
        report = self.state.report
        assert report is not None
        if not self.state.cleared:
            target.clear(self._marker.num_shards)
            self._note(cleared=True)
        if not (target.work / CHECKPOINT_MARKER).exists():
            write_report(target.work / REPORT, report)
            install(self._work, target, self._marker, self.state.checkpoint_id)
        return report

    def _verified(self, rows: int) -> None:
        self._progress("verify", rows, self._total)

    def _note(self, **facts: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **facts)
        self.state.write(self._work)
