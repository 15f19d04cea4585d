"""Directories that are put into a store, as whoever copies them there does."""

from __future__ import annotations

from pathlib import Path

from persia.formats.layout import CHECKPOINT_MARKER, PACKET_MARKER
from persia.storage import Store


def upload(store: Store, directory: Path, name: str = "") -> None:
    """All files below a directory, those that say that something is complete last, and the innermost of these first."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: (path.name in (CHECKPOINT_MARKER, PACKET_MARKER), -len(path.parts))):
        store.put("/".join(filter(None, [name, path.relative_to(directory).as_posix()])), path)
