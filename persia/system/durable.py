"""Small files that are there whole or not at all, and directories that are on disk."""

from __future__ import annotations

import errno
import itertools
import os
import re
from contextlib import suppress
from pathlib import Path

_counter = itertools.count()
# As the native writers name theirs: hidden, and without the ending that readers look for.
_TEMPORARY = re.compile(r"\..+\.\d+-\w+\.tmp")


def write_file(path: Path, data: bytes) -> None:
    """Writes the file under another name and renames it. When this returns, the file and its name are on disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-p{next(_counter)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to know; a name left behind is harmless
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Puts the names in a directory on disk: a rename is there after a power cut only then."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)


def is_temporary(name: str) -> bool:
    """Whether a writer that was killed may have left a file of that name."""
    return _TEMPORARY.fullmatch(name) is not None
