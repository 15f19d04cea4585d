"""Epochs as a trainer makes them: it says which packets belong together."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from persia.formats.committing import committed_checkpoint, committed_packet
from persia.formats.epoch import CommittedPacket, Draft
from persia.formats.epoch_log import open_epoch_log
from persia.storage import place_of
from persia.storage.fetching import fetch

__all__ = ["EpochCommitter"]


class EpochCommitter:
    """Commits packets to `incremental_dir`, one epoch after the other. For one thread; usually the chief of a training.

    From the first one on, servers commit no packets of their own accord: what is in an epoch is for the trainer to say, until
    `persia-launcher epochs release` gives it back to the servers.

    An epoch follows on the newest one that the committer knows. If somebody else has committed since, such as an operator who
    went back to an earlier epoch, that raises Superseded, and a trainer that lived through it does not write on top of it
    unawares.
    """

    def __init__(self, incremental_dir: str | os.PathLike[str]) -> None:
        """Makes the directory if need be, reads the log, and holds it. Raises CorruptFile, OSError, Superseded.

        incremental_dir: also the URL of a store, as s3://bucket/path.
        """
        place = place_of(os.fspath(incremental_dir))
        self._store = place.open() if place.path is None else None
        if place.path is not None:
            place.path.mkdir(parents=True, exist_ok=True)
        self._log = open_epoch_log(place)
        self.newest = self._log.read()
        if not self._log.history.held:
            self._commit(Draft(hold=True))

    def commit(
        self,
        packets: Iterable[str | os.PathLike[str]] = (),
        dense: Mapping[str, str | None] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> int:
        """Makes an epoch of the packets, whose directories IncrementalDumper.flush() returned; returns its number.

        When this returns, the record is on disk. Rows that several packets have end as the newest packet has them.

        dense: the versions of dense models that were trained with these rows, by the names under which they are served. From
        this epoch on, answers of such a model are of that version. For a version of None any will do; models that are not
        named stay as they are.

        checkpoint: the directory of a complete checkpoint, or its URL in a store. All its files are read before it is
        committed. From this epoch on the rows are those of this checkpoint, and of the packets that are newer than it. It has
        to stay where it is until the log names another one.

        Raises:
            Superseded: somebody else has committed since. Nothing was committed; see refresh().
            InvalidInput, CorruptFile: a packet or the checkpoint is not complete, or broken. Nothing was committed.
            OSError: the disk refuses. Whether the epoch was committed, refresh() tells.
        """
        add = tuple(self._committed(Path(packet)) for packet in packets)
        base = None if checkpoint is None else committed_checkpoint(os.fspath(checkpoint))
        return self._commit(
            Draft(add=add, base=base, dense=None if dense is None else self._log.history.dense_with(dense)),
        )

    def refresh(self) -> int:
        """Takes notice of what others have committed, so that the next epoch follows on it. Returns the newest epoch.

        Raises CorruptFile, OSError.
        """
        self.newest = self._log.read()
        return self.newest

    def _committed(self, packet: Path) -> CommittedPacket:
        if self._store is None:
            return committed_packet(packet)
        with tempfile.TemporaryDirectory(prefix="persia-packet-") as scratch:
            here = Path(scratch, *packet.parts[-2:])
            here.mkdir(parents=True)
            directory = f"{here.parent.name}/{here.name}"
            for entry in self._store.list_files(directory):
                fetch(self._store, entry, here / entry.name.rpartition("/")[2])
            return committed_packet(here)

    def _commit(self, draft: Draft) -> int:
        self.newest = self._log.commit_after(self.newest, draft, "trainer").epoch
        return self.newest
