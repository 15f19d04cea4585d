"""A journal's name for one server alone, where replicas of a shard share a directory of packets."""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import secrets
from pathlib import Path

__all__ = ["JournalLock"]

log = logging.getLogger(__name__)

# What disks answer that know no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class JournalLock:
    """Holds the first of NAME.jsonl, NAME.2.jsonl, ... that no other server holds. The system lets go of it with the process.

    A name with host and port in it would be another one after each restart of a container, and leave a journal each time.

    Some file systems that several machines share have no locks, or give each machine one of its own. So whoever takes a name
    also leaves a mark in its file of the lock: a server that finds the mark of another one there leaves the name to that one.
    """

    def __init__(self, first: Path) -> None:
        self._first = first
        self._path = first
        self._descriptor: int | None = None
        self._mark = secrets.token_hex(16).encode()
        self._lost: set[Path] = set()  # names that others have taken; else two would take one from each other for ever
        self._told = False

    def is_held(self) -> bool:
        """False also if the directory was deleted, or a disk was mounted over it, since."""
        if self._descriptor is None:
            return False
        try:
            mark = _lock_of(self._path).read_bytes()  # opened anew: network file systems show what others wrote only then
        except OSError:
            return False
        if mark and mark != self._mark:
            log.warning(
                "another server has taken the journal %s although this one holds its lock, so the file system gives the "
                "same lock to several machines: this server takes the next journal",
                self._path,
            )
            self._lost.add(self._path)
        return mark == self._mark

    def take(self) -> Path:
        """The journal to write. Raises OSError."""
        self.release()
        for k in itertools.count(1):
            path = self._first if k == 1 else self._first.with_suffix(f".{k}.jsonl")
            if path in self._lost:
                continue
            descriptor = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if not self._lock(descriptor, path):
                    os.close(descriptor)
                    continue
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, self._mark, 0)
                os.fsync(descriptor)
            except OSError:
                os.close(descriptor)
                raise
            self._path, self._descriptor = path, descriptor
            break
        return self._path

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _lock(self, descriptor: int, path: Path) -> bool:
        """False: another server holds it. Raises OSError."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if not self._told:
                log.warning("no locks for %s (%s): replicas of a shard know their journals by marks alone", path.parent, error)
            self._told = True
        return True


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")
