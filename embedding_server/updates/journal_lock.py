"""A journal's name for one server alone, where replicas of a shard share a directory of packets."""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
from pathlib import Path

__all__ = ["JournalLock"]

log = logging.getLogger(__name__)

# What disks answer that know no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class JournalLock:
    """Holds the first of NAME.jsonl, NAME.2.jsonl, ... that no other server holds. The system lets go of it with the process.

    A name with host and port in it would be another one after each restart of a container, and leave a journal each time.
    """

    def __init__(self, first: Path) -> None:
        self._first = first
        self._path = first
        self._descriptor: int | None = None

    def is_held(self) -> bool:
        """False also if the directory was deleted, or a disk was mounted over it, since."""
        if self._descriptor is None:
            return False
        try:
            there = os.stat(_lock_of(self._path))
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._descriptor))

    def take(self) -> Path:
        """The journal to write. Raises OSError."""
        self.release()
        for k in itertools.count(1):
            path = self._first if k == 1 else self._first.with_suffix(f".{k}.jsonl")
            descriptor = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    os.close(descriptor)
                    raise
                log.warning("no locks for %s (%s): only one replica of a shard may follow these packets", path.parent, error)
            self._path, self._descriptor = path, descriptor
            break
        return self._path

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")
