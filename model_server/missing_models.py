"""The models that the start or the kept state names, and that could not be loaded: a server without them is not ready."""

from __future__ import annotations

import threading
from pathlib import PurePosixPath

from .registration import Registration

__all__ = ["MissingModels"]

_ENDINGS = (".mar", ".tar.gz", ".tgz")


class MissingModels:
    """Thread safety: any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: list[Registration] = []

    def add(self, wanted: Registration) -> None:
        """It could not be loaded."""
        with self._lock:
            self._wanted.append(wanted)

    def names(self) -> list[str]:
        """By which each may be unregistered: the model's name, or the archive's where that alone is known."""
        with self._lock:
            return sorted({_name(wanted) for wanted in self._wanted})

    def urls(self) -> set[str]:
        """Of their archives."""
        with self._lock:
            return {wanted.url for wanted in self._wanted}

    def found(self, name: str, url: str) -> None:
        """A model of that name was registered, or this archive under another name."""
        with self._lock:
            self._wanted = [one for one in self._wanted if _name(one) != name and one.url != url]

    def forget(self, name: str) -> bool:
        """Nobody wants it any more. Whether it was missing."""
        with self._lock:
            left = [one for one in self._wanted if _name(one) != name]
            had = len(left) < len(self._wanted)
            self._wanted = left
            return had


def _name(wanted: Registration) -> str:
    if wanted.model_name:
        return wanted.model_name
    file = PurePosixPath(wanted.url).name
    return next((file.removesuffix(ending) for ending in _ENDINGS if file.endswith(ending)), file)
