"""The files of commit records: on a file system, or in a store. A record is created once, and never changed."""

from __future__ import annotations

import os
from pathlib import Path

from persia.storage import Store
from persia.system.durable import is_temporary, sync_directory, write_new_file

from .layout import EPOCHS, record_path

__all__ = ["RecordFiles", "StoredRecords"]


class RecordFiles:
    """In a directory below that of packets."""

    def __init__(self, incremental_dir: Path) -> None:
        self._directory = incremental_dir / EPOCHS

    def place(self, epoch: int | None = None) -> str:
        """Of a record, or (None) of all, for people."""
        return str(self._directory if epoch is None else record_path(self._directory, epoch))

    def read(self, epoch: int) -> bytes | None:
        """The record of an epoch; None: there is none. Raises OSError."""
        try:
            return record_path(self._directory, epoch).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, epoch: int, data: bytes) -> bool:
        """Puts a record, which is on disk then. False: there is one already. Raises OSError."""
        if epoch == 1 and not self._directory.exists():
            self._directory.mkdir(exist_ok=True)
            sync_directory(self._directory.parent)
        return write_new_file(record_path(self._directory, epoch), data)

    def names(self) -> list[str]:
        """Of all files there, but for those that a writer is at. Raises OSError."""
        try:
            return [name for name in os.listdir(self._directory) if not is_temporary(name)]
        except FileNotFoundError:
            return []


class StoredRecords(RecordFiles):
    """In a store, where of several who create one file a single one wins."""

    def __init__(self, store: Store) -> None:
        """store: the directory of packets."""
        super().__init__(Path())
        self._store = store

    def place(self, epoch: int | None = None) -> str:
        """See RecordFiles."""
        return self._store.url_of(EPOCHS if epoch is None else self._name(epoch))

    def read(self, epoch: int) -> bytes | None:
        """See RecordFiles."""
        try:
            return self._store.read_whole(self._name(epoch))
        except FileNotFoundError:
            return None

    def create(self, epoch: int, data: bytes) -> bool:
        """See RecordFiles. A request that was sent twice because its answer was lost has created its own record."""
        return self._store.create(self._name(epoch), data) or self.read(epoch) == data

    def names(self) -> list[str]:
        """See RecordFiles."""
        return [entry.name.rpartition("/")[2] for entry in self._store.list_files(EPOCHS)]

    def _name(self, epoch: int) -> str:
        return record_path(Path(EPOCHS), epoch).as_posix()
