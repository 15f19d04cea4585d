"""Files that are there whole or not at all, and directories that are on disk.

Several processes may write the same file, on machines that share a file system or in containers, where each is process 1. So a
name that is to be one process' own is drawn, and not made of its number.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["is_temporary", "replacing", "sync_directory", "temporary_beside", "unique_name", "write_file", "write_new_file"]

# As the native writers name theirs: hidden, and without the ending that readers look for.
_TEMPORARY = re.compile(r"\..+\.\d+-\w+\.tmp")

_HAS_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def write_file(path: Path, data: bytes) -> None:
    """Writes the file under another name and renames it. When this returns, the file and its name are on disk."""
    with replacing(path) as temporary, temporary.open("xb") as file:
        file.write(data)


def write_new_file(path: Path, data: bytes) -> bool:
    """As write_file, unless there is such a file already (False): it stays as it is. Of several writers one wins.

    Raises OSError.
    """
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path`, for a file that takes its place when the block ends. Then the file and its name are on disk.

    The path is hidden, and there is no such file yet: the block makes it, with what mode it likes. If the block fails, the file
    is removed, and `path` stays as it was.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        _sync(temporary, os.O_RDONLY)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to know; a name left behind is harmless
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Puts the names in a directory on disk: a rename is there after a power cut only then."""
    try:
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise


def is_temporary(name: str) -> bool:
    """Whether a writer that was killed may have left a file of that name."""
    return _TEMPORARY.fullmatch(name) is not None


def unique_name() -> str:
    """Part of a file's name that no other file has, whichever process of whichever machine asks: `PROCESS-RANDOM`."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"


def temporary_beside(path: Path) -> Path:
    """Hidden, nobody else's, and without a file as yet."""
    return path.with_name(f".{path.name}.{unique_name()}.tmp")


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source, path)
    except FileExistsError:
        # NFS asks again where an answer was lost, and then hears of its own link.
        if source.stat().st_nlink == 1:
            raise
    except OSError as error:
        if error.errno not in _HAS_NO_LINKS:
            raise
        what = "the file system has no hard links, by which one of several writers wins; give a bucket by its URL, not mounted"
        raise OSError(error.errno, what, str(path)) from None


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
