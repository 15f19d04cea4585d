"""Directories in the system's temporary one that go with their process, or with the next start if it was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

from persia.system.lock import lock_file

__all__ = ["ScratchDirectory"]

_OWNER = ".owner.lock"  # which is locked for as long as the process lives


class ScratchDirectory:
    """`path`: of this process alone. What killed processes of this user have left under the same prefix is removed first."""

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        """parent: in which it is made, instead of the system's temporary one. Raises OSError."""
        parent = parent or Path(tempfile.gettempdir())
        for left in parent.glob(f"{prefix}*"):
            _remove_left(left)
        # It has its name only when its lock is held: nobody takes it for one that was left.
        new = Path(tempfile.mkdtemp(prefix=f".new-{prefix}", dir=parent))
        lock = lock_file(new / _OWNER)
        assert lock is not None  # nobody else knows of it
        self.path = new.rename(parent / new.name.removeprefix(".new-"))
        self._remove = weakref.finalize(self, _remove, self.path, lock)

    def remove(self) -> None:
        """And everything in it. Idempotent; else it is done at the end of the process."""
        self._remove()

    def keep(self) -> None:
        """For somebody to read: it stays, and no later start removes it."""
        self._remove.detach()
        (self.path / _OWNER).unlink(missing_ok=True)


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def _remove_left(path: Path) -> None:
    """Unless its process lives, or nobody can say whose it is."""
    try:
        is_ours = path.lstat().st_uid == os.getuid() and (path / _OWNER).is_file() and not path.is_symlink()
        lock = lock_file(path / _OWNER) if is_ours else None
    except OSError:  # another start was faster
        return
    if lock is not None:
        _remove(path, lock)
