"""Where archives lie: a directory, or a store whose archives are fetched into one when a process starts."""

from __future__ import annotations

from pathlib import Path

from persia.system.scratch import ScratchDirectory

from .fetching import fetch
from .place import Place

__all__ = ["local_model_store"]

_fetched: list[ScratchDirectory] = []  # until the process ends


def local_model_store(place: Place) -> Path:
    """The directory itself, or one of this process with the archives that lie right below the URL now.

    Raises InvalidInput, OSError; FileNotFoundError if there is no archive.
    """
    if place.path is not None:
        return place.path
    store = place.open()
    archives = [entry for entry in store.list_files() if entry.name.endswith(".mar") and "/" not in entry.name]
    if not archives:
        raise FileNotFoundError(2, "expected archives (.mar) in the store, there are none", store.url)
    scratch = ScratchDirectory("persia-archives-")
    _fetched.append(scratch)
    for entry in archives:
        fetch(store, entry, scratch.path / entry.name)
    return scratch.path
