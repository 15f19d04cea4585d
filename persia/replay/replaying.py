"""Many kept answers made again: the checkpoint is read once for the signs of all, and each packet once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from persia import _core
from persia.errors import PersiaError
from persia.formats.checkpoint import Checkpoint
from persia.receipts.receipt import KeptAnswer
from persia.routing import make_slots
from persia.routing.lookup import Lookup, OnBuffers

from .differences import Outcome, distances, explain, unconfirmed
from .handler import ArchiveHandler
from .rows import RowFiles, State
from .signs import look_up, signs_of_plan
from .sources import Sources
from .tables import EpochTables

__all__ = ["Candidate", "replayed"]

_MS = 1000


@dataclass(frozen=True)
class Candidate:
    """What answers are held against instead of what they were made of; None: that of the answer itself."""

    archive: Path | None = None
    epoch: int | None = None
    variant: str | None = None  # empty: the shared rows


@dataclass(frozen=True)
class _Asked:
    """A kept answer whose parts are there."""

    kept: KeptAnswer
    archive: Path
    epoch: int
    variant: str
    is_replay: bool  # with all that the answer was made of, and nothing else

    @property
    def order(self) -> tuple[str, int, str, int]:
        """Those of one model and the same rows come one after the other."""
        return str(self.archive), self.epoch, self.variant, self.kept.receipt.unix_ms

    def failed(self, error: PersiaError | OSError) -> Outcome:
        return Outcome(self.kept.place, self.kept.receipt.model, error)


class _Rows:
    """Answers the lookups of the handler, from tables of the answer that is at hand."""

    def __init__(self, sources: Sources) -> None:
        self._slots = make_slots(sources.config)
        self.kept: KeptAnswer | None = None
        self.tables: EpochTables | None = None

    def plan(self, batch: _core.Batch, shards: int) -> _core.Plan:
        return _core.make_plan(batch, self._slots, shards)

    def lookup(
        self,
        batch: _core.Batch,
        timeout: float | None = None,
        on_buffers: OnBuffers | None = None,
        min_epoch: int = 0,
        variant: str = "",
    ) -> Lookup:
        """Does what Lookups.lookup says. `variant` goes unread: the tables are those of the one that is replayed."""
        assert self.kept is not None and self.tables is not None
        receipt = self.kept.receipt
        snapshots = self.tables.snapshots(receipt.unix_ms // _MS)
        return look_up(self.plan(batch, receipt.shards), batch, snapshots, receipt.missing_shards, on_buffers)

    def why_not_ready(self) -> str:
        return ""

    def close(self) -> None:
        pass


def replayed(
    answers: Sequence[KeptAnswer], sources: Sources, storage: str = "f32", candidate: Candidate | None = None
) -> Iterator[Outcome]:
    """Makes each answer again; what comes of them is in the order of epochs.

    storage: as which the servers kept rows. candidate: to hold the answers against another model, or other rows.
    """
    groups: dict[tuple[str | None, int], list[_Asked]] = {}
    for kept in answers:
        try:
            asked = _asked(kept, sources, candidate or Candidate())
        except (PersiaError, OSError) as error:
            yield Outcome(kept.place, kept.receipt.model, error)
        else:
            groups.setdefault((kept.receipt.checkpoint, kept.receipt.shards), []).append(asked)
    for group in groups.values():
        yield from _Group(group, sources, storage).outcomes()


def _asked(kept: KeptAnswer, sources: Sources, candidate: Candidate) -> _Asked:
    receipt = kept.receipt
    sources.expect_config(receipt)
    archive = candidate.archive or sources.archive_of(receipt)
    epoch = sources.epoch_of(receipt) if candidate.epoch is None else candidate.epoch
    variant = receipt.variant if candidate.variant is None else candidate.variant
    return _Asked(kept, archive, epoch, variant, candidate == Candidate())


class _Group:
    """Answers of one checkpoint and number of shards."""

    def __init__(self, group: list[_Asked], sources: Sources, storage: str) -> None:
        self._group, self._sources, self._storage = group, sources, storage
        self._receipt = group[0].kept.receipt  # for what all have in common
        self._lookups = _Rows(sources)

    def outcomes(self) -> Iterator[Outcome]:
        planned: list[_Asked] = []
        signs = [np.zeros(0, np.uint64)]
        for asked in self._group:
            try:
                plan = self._lookups.plan(_core.decode_batch(asked.kept.batch), self._receipt.shards)
            except PersiaError as error:
                yield asked.failed(error)
            else:
                signs.append(np.unique(signs_of_plan(plan)))
                planned.append(asked)
        try:
            checkpoint = self._sources.checkpoint_of(self._receipt)
            files = RowFiles(np.unique(np.concatenate(signs)), self._receipt.shards, self._sources.packets)
            before = files.empty() if checkpoint is None else files.of_checkpoint(checkpoint)
        except (PersiaError, OSError) as error:
            yield from (asked.failed(error) for asked in planned)
            return
        planned.sort(key=lambda asked: asked.order)
        for archive, of_archive in groupby(planned, key=lambda asked: asked.archive):
            there = list(of_archive)
            try:
                handler = ArchiveHandler(archive, self._lookups)
            except (PersiaError, OSError) as error:
                yield from (asked.failed(error) for asked in there)
                continue
            with handler:
                yield from self._of_archive(handler, there, files, before, checkpoint)

    def _of_archive(
        self,
        handler: ArchiveHandler,
        there: list[_Asked],
        files: RowFiles,
        before: State,
        checkpoint: list[Checkpoint] | None,
    ) -> Iterator[Outcome]:
        for (epoch, variant), of_rows in groupby(there, key=lambda asked: (asked.epoch, asked.variant)):
            try:
                state = files.at_epoch(before, self._sources.packets_at(epoch, checkpoint))
                if variant:
                    state = files.of_variant(state, *self._sources.variant_at(epoch, variant))
                self._lookups.tables = EpochTables(files, state, self._storage)
            except (PersiaError, OSError) as error:
                yield from (asked.failed(error) for asked in of_rows)
                continue
            for asked in of_rows:
                self._lookups.kept = asked.kept
                yield _outcome(handler, asked)


def _outcome(handler: ArchiveHandler, asked: _Asked) -> Outcome:
    receipt = asked.kept.receipt
    try:
        scores, details = handler.answer(asked.kept)
        difference = explain(receipt, scores, details)
        largest, mean = distances(receipt, scores) if difference else (0.0, 0.0)
    except PersiaError as error:
        return asked.failed(error)
    remarks = unconfirmed(receipt, details) if asked.is_replay else ()
    return Outcome(asked.kept.place, receipt.model, None, difference, largest, mean, remarks)
