"""A directory that one process has for itself, by a lock on a file in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["lock_file"]


def lock_file(path: Path) -> int | None:
    """A file that is open and locked for as long as it, or what a child has inherited of it, is; None if another has it.

    Children inherit it only if they are told to (pass_fds). Raises OSError.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
