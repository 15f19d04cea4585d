"""Files that are read without waiting: what only looks like a file (a named pipe, a device, a socket) is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from persia.errors import InvalidInput

__all__ = ["open_regular"]

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


def open_regular(path: Path) -> BinaryIO:
    """For reading. Raises InvalidInput for what is no regular file, OSError."""
    _check(path, os.stat(path).st_mode)  # to open a device may do something
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")


def _check(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"expected a file, got {_KINDS.get(stat.S_IFMT(mode), 'something else')}: {path.name}")
