"""A file of a store onto the local disk: what breaks off goes on where it ended, until nothing more comes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from .problems import ChangedError, StoreUnavailable
from .store import Entry, Store

__all__ = ["fetch"]

_TRIES = 5  # one after the other that bring no byte
_SMALL = 1  # byte
_PAUSES = (0.05, 0.2, 0.5, 1.0)  # seconds before the next one


def fetch(store: Store, entry: Entry, path: Path, pause: Callable[[float], None] = time.sleep) -> None:
    """Writes the file of the entry to `path`, over what is there. It is not synced: what is fetched can be fetched again.

    Raises OSError: the store refuses, the file is another one now (ChangedError), or nothing more comes. Then `path` may hold
    a part of it.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb", buffering=0) as file:
        got = failed = 0
        while got < entry.size:
            before = got
            try:
                # Where nothing has come of a large piece, whatever comes counts.
                for piece in store.read(entry, got, piece=_SMALL if failed else None):
                    file.write(piece)
                    got += len(piece)
                problem = f"the store says that it has {entry.size} bytes, and sends {got}"
            except StoreUnavailable as error:
                problem = str(error)
            if got > entry.size:
                raise ChangedError(f"{store.url_of(entry.name)} was written again while it was read")
            if got == entry.size:
                break
            failed = failed + 1 if got == before else 0
            if failed == _TRIES:
                raise StoreUnavailable(5, f"broke off after {got} of {entry.size} bytes: {problem}", store.url_of(entry.name))
            pause(_PAUSES[min(failed, len(_PAUSES) - 1)])
        file.truncate(entry.size)
