"""The log of commit records in `INCREMENTAL_DIR/.epochs`: read by all, written by whoever is first with the next record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from persia.errors import CorruptFile, Superseded
from persia.system.durable import is_temporary, sync_directory, write_new_file

from .epoch import NO_PARENT, Draft, EpochRecord, checksum, parse_record
from .epoch_history import EpochHistory
from .layout import EPOCHS, epoch_of_record, record_path

__all__ = ["EpochLog"]

Author = Literal["server", "trainer", "operator"]
_WHO = {"server": "a server", "trainer": "a trainer", "operator": "an operator"}


class EpochLog:
    """For one thread of any number of processes."""

    def __init__(self, incremental_dir: Path, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds since 1970, for people who read the log."""
        self.directory = incremental_dir / EPOCHS
        self.history = EpochHistory()
        self._clock = clock
        self._crc32 = NO_PARENT  # of the newest record
        self._looked_for_gaps = False

    @property
    def newest(self) -> int:
        return self.history.newest

    def read(self) -> int:
        """Takes over the records that have come since; returns the newest epoch.

        Raises CorruptFile for a record that is broken, missing, or of another log; then what comes before it has been taken
        over. OSError.
        """
        while self._read_next():
            pass
        if not self._looked_for_gaps:
            self._look_for_gaps()
            self._looked_for_gaps = True
        return self.newest

    def commit(self, draft: Draft, by: Author, why: str = "") -> EpochRecord | None:
        """Puts the next record; None: somebody else has put it, and read() takes it over. Raises OSError."""
        epochs = self.directory
        if not self.newest and not epochs.exists():
            epochs.mkdir(exist_ok=True)
            sync_directory(epochs.parent)
        record = EpochRecord(
            format=1,
            epoch=self.newest + 1,
            parent_crc32=self._crc32,
            unix_ms=int(self._clock() * 1000),
            by=by,
            add=draft.add,
            void=draft.void,
            revert_to=draft.revert_to,
            base=draft.base,
            dense=None if draft.dense is None else dict(draft.dense),
            hold=draft.hold,
            why=why,
        )
        data = record.to_bytes()
        path = record_path(epochs, record.epoch)
        parse_record(path, data, record.epoch, self._crc32)  # what nobody could read is never written
        if not write_new_file(path, data):
            return None
        self._take(record, data)
        return record

    def commit_after(self, parent: int, draft: Draft, by: Author, why: str = "") -> EpochRecord:
        """As commit(), but raises Superseded unless the newest epoch is `parent`."""
        if self.read() == parent and (record := self.commit(draft, by, why)):
            return record
        self.read()
        last = self.history.records[-1:]
        got = ", ".join(
            f"epoch {one.epoch}, which {_WHO[one.by]} has committed" + f" ({one.why})" * bool(one.why) for one in last
        )
        raise Superseded(
            f"expected epoch {parent} to be the newest one, got {got or 'an empty log'}: read the log in {self.directory}, and "
            "commit what belongs on top of that"
        )

    def foreign_files(self) -> list[str]:
        """The names of files that are no records. Raises OSError."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if epoch_of_record(name) is None and not is_temporary(name))

    def _read_next(self) -> bool:
        path = record_path(self.directory, self.newest + 1)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return False
        self._take(parse_record(path, data, self.newest + 1, self._crc32), data)
        return True

    def _take(self, record: EpochRecord, data: bytes) -> None:
        self.history.append(record)
        self._crc32 = checksum(data)

    def _look_for_gaps(self) -> None:
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return
        last = max((epoch for name in names if (epoch := epoch_of_record(name)) is not None), default=0)
        while self.newest < last:
            if not self._read_next():  # else it came after the look at its place
                path = record_path(self.directory, self.newest + 1)
                raise CorruptFile(
                    str(path), "a record, as there is one of a later epoch", f"no file before that of epoch {last}", 0
                )
