"""What one process has for itself, by a lock on a file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["lock_file", "locked"]


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


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process holds the file, and holds it meanwhile. Raises OSError."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
