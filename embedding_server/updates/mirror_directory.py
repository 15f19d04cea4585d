"""The directory of one server's mirror: what it has fetched and noted is there again after a restart."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

from persia.system.lock import lock_file

__all__ = ["take_mirror_directory"]

_held: list[int] = []  # locks, until the process ends


def take_mirror_directory(buffer: Path, url: str, index: int, count: int) -> Path:
    """The first one of this store and this shard, of so many, that no other process holds. Raises OSError."""
    name = f"packets-{hashlib.sha256(url.encode()).hexdigest()[:12]}-{index}_of_{count}"
    for k in itertools.count(1):
        path = buffer / (name if k == 1 else f"{name}.{k}")
        path.mkdir(parents=True, exist_ok=True)
        if (lock := lock_file(path / ".lock")) is not None:
            _held.append(lock)
            return path
    raise AssertionError
