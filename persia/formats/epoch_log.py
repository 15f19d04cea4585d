"""The log of commit records in `INCREMENTAL_DIR/.epochs`: read by all, written by whoever is first with the next record."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from persia.errors import CorruptFile, Superseded
from persia.storage import Place

from .epoch import NO_PARENT, Draft, EpochRecord, checksum, parse_record
from .epoch_history import EpochHistory
from .layout import EPOCHS, epoch_of_record
from .record_files import RecordFiles, StoredRecords

__all__ = ["EpochLog", "open_epoch_log"]

Author = Literal["server", "trainer", "operator"]
_WHO = {"server": "a server", "trainer": "a trainer", "operator": "an operator"}


class EpochLog:
    """For one thread of any number of processes."""

    def __init__(
        self, incremental_dir: Path, clock: Callable[[], float] = time.time, records: RecordFiles | None = None
    ) -> None:
        """clock: seconds since 1970, for people who read the log. records: those of a store; None: below incremental_dir."""
        self.directory = incremental_dir / EPOCHS
        self.records = records or RecordFiles(incremental_dir)
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
        """Puts the next record; None: somebody else has put it, and read() takes it over.

        Raises CorruptFile if the newest record is not the one any more that was read or put; OSError.
        """
        self._check_newest()
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
            variants=None if draft.variants is None else dict(draft.variants),
            why=why,
        )
        data = record.to_bytes()
        path = self.records.place(record.epoch)
        record = parse_record(path, data, record.epoch, self._crc32)  # what nobody could read is never written
        if not self.records.create(record.epoch, data):
            return None
        self._take(record, data)
        return record

    def commit_after(self, parent: int, draft: Draft, by: Author, why: str = "") -> EpochRecord:
        """As commit(), but raises Superseded if an epoch since `parent` is of account.

        One of variants alone is not; and what an operator wants holds also for packets that servers have committed meanwhile.
        """

        def is_of_account(one: EpochRecord) -> bool:
            return not one.is_of_variants_alone and (by, one.by) != ("operator", "server")

        while self.read() >= parent and not any(map(is_of_account, self.history.records[parent:])):
            if record := self.commit(draft, by, why):
                return record
        last = self.history.records[-1:]
        got = ", ".join(
            f"epoch {one.epoch}, which {_WHO[one.by]} has committed" + f" ({one.why})" * bool(one.why) for one in last
        )
        raise Superseded(
            f"expected epoch {parent} to be the newest one, got {got or 'an empty log'}: read the log in "
            f"{self.records.place()}, and commit what belongs on top of that"
        )

    def foreign_files(self) -> list[str]:
        """The names of files that are no records. Raises OSError."""
        return sorted(name for name in self.records.names() if epoch_of_record(name) is None)

    def _read_next(self) -> bool:
        data = self.records.read(self.newest + 1)
        if data is None:
            return False
        self._take(parse_record(self.records.place(self.newest + 1), data, self.newest + 1, self._crc32), data)
        return True

    def _take(self, record: EpochRecord, data: bytes) -> None:
        self.history.append(record)
        self._crc32 = checksum(data)

    def _check_newest(self) -> None:
        """A record that follows on one which nobody else has would break the log for everybody."""
        if self.newest and checksum(self.records.read(self.newest) or b"") != self._crc32:
            expected = f"the record with the CRC-32 {self._crc32}, which was there before"
            got = "another one, or none: whoever changes a log starts all servers and trainers anew"
            raise CorruptFile(self.records.place(self.newest), expected, got, 0)

    def _look_for_gaps(self) -> None:
        names = self.records.names()
        last = max((epoch for name in names if (epoch := epoch_of_record(name)) is not None), default=0)
        while self.newest < last:
            if not self._read_next():  # else it came after the look at its place
                raise CorruptFile(
                    self.records.place(self.newest + 1),
                    "a record, as there is one of a later epoch",
                    f"no file before that of epoch {last}",
                    0,
                )


def open_epoch_log(place: Place) -> EpochLog:
    """Of a directory of packets, on a file system or in a store. Raises InvalidInput."""
    return EpochLog(place.path) if place.path is not None else EpochLog(Path(), records=StoredRecords(place.open()))
