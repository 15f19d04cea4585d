"""The verbs that a store has to know, and what they cost.

Only these are relied on: a listing has its names in order, what was put is found by whoever looks afterwards, and of several
who create one name a single one wins. Nothing is renamed, locked or compared and swapped, because object stores differ there.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Data", "Entry", "Requests", "Store", "Verb"]

Verb = Literal["list", "stat", "read", "put", "create", "remove"]
Data = bytes | Path  # what is put: bytes, or a file on the local disk


@dataclass(frozen=True)
class Entry:
    """A file of a store. `tag`: another one means another content; empty where the store has none."""

    name: str
    size: int
    mtime_ns: int
    tag: str


class Requests:
    """How often a store was asked, by verb, and how many bytes came. A listing counts once for each page. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Verb] = Counter()
        self._bytes_read = 0

    def count(self, verb: Verb) -> None:
        with self._lock:
            self._counts[verb] += 1

    def add_bytes(self, size: int) -> None:
        with self._lock:
            self._bytes_read += size

    def totals(self) -> tuple[dict[Verb, int], int]:
        """By verb; the bytes that were read."""
        with self._lock:
            return dict(self._counts), self._bytes_read


class Store(ABC):
    """A directory of a store. Names are relative to it, with slashes. For any thread.

    What a store refuses is raised as an OSError: FileNotFoundError for a name that is not there, PermissionError for
    credentials that do not do, and others with what happened, where, and what to do (see problems).
    """

    def __init__(self, url: str, requests: Requests | None = None) -> None:
        """url: of the directory; requests: counts what is asked here."""
        self.url = url.rstrip("/")
        self.requests = requests or Requests()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.url}>"

    def url_of(self, name: str) -> str:
        """Of a file or directory in it, for people."""
        return f"{self.url}/{name}" if name else self.url

    @abstractmethod
    def list_files(self, directory: str = "", after: str = "") -> Iterator[Entry]:
        """All files below a directory, in the order of their names, without those up to and with the name `after`.

        A directory that is not there has none.
        """

    @abstractmethod
    def directories(self, directory: str = "") -> list[str]:
        """The names of the directories right below a directory, in order."""

    @abstractmethod
    def stat(self, name: str) -> Entry:
        """A file as it is now."""

    @abstractmethod
    def read(self, entry: Entry, begin: int = 0, end: int | None = None, piece: int | None = None) -> Iterator[memoryview]:
        """The bytes of a file from `begin` up to `end`, piece by piece.

        piece: as many bytes, or some more, come at a time; None: as suits the store. What had come of a piece when the
        connection broke is lost.

        Raises ChangedError if the store can tell that the file is not that of the entry any more.
        """

    @abstractmethod
    def put(self, name: str, data: Data) -> None:
        """Writes a file, whole or not at all. One that is there is replaced."""

    @abstractmethod
    def create(self, name: str, data: Data) -> bool:
        """As put(), but False if the file is there already: then it stays as it is."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Removes a file, which may not be there."""

    def read_whole(self, name: str) -> bytes:
        """A small file."""
        return b"".join(self.read(self.stat(name)))
