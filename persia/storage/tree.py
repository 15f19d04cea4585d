"""A directory of a store as a skeleton on the local disk: names, sizes and times, small files whole, of large ones the ends.

Whoever only looks at names, sizes, times, markers and the ends of files looks at the skeleton as at the directory itself. Who
reads a large file has it fetched for as long as that takes, so that a disk needs room for a few files at a time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from persia.errors import CorruptFile
from persia.system.scratch import ScratchDirectory

from .fetching import fetch
from .store import Entry, Store

__all__ = ["Tree"]

_END_BYTES = 64  # by which a file is known, at its beginning and at its end


class Tree:
    """`root` is the skeleton. For any thread; to be closed."""

    def __init__(self, store: Store, buffer: Path, is_small: Callable[[str], bool], workers: int = 4) -> None:
        """Lists the directory, and fetches what is small.

        Args:
            store: its directory.
            buffer: a directory of the local disk, in which the skeleton and what is fetched lie.
            is_small: whether a file of that name is fetched whole at once.
            workers: how many files are fetched at a time.

        Raises OSError; FileNotFoundError if the store has nothing there.
        """
        self.store = store
        self._entries = {entry.name: entry for entry in store.list_files()}
        if not self._entries:
            raise FileNotFoundError(2, "expected a directory of the store with files, there are none", store.url)
        buffer.mkdir(parents=True, exist_ok=True)
        self._scratch = ScratchDirectory("persia-fetched-", buffer)
        self.root = self._scratch.path / "tree"
        self._lock = Lock()
        self._readers = 0
        self._free_copies: list[Path] = []
        try:
            with ThreadPoolExecutor(workers, thread_name_prefix="fetch") as pool:
                list(pool.map(lambda entry: self._place(entry, is_small(entry.name)), self._entries.values()))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes all that it has on the local disk."""
        self._scratch.remove()

    def is_unchanged(self) -> bool:
        """Whether the store lists the same files as at first. Raises OSError."""
        return {entry.name: entry for entry in self.store.list_files()} == self._entries

    @contextmanager
    def fetched(self, path: Path) -> Iterator[Path]:
        """A file of the skeleton, on the local disk for as long as the block lasts.

        What the block finds to be corrupt in it is named by its place in the store. Raises OSError.
        """
        name = self._name_of(path)
        copy = self._take_copy(path.suffix)
        try:
            fetch(self.store, self._entries[name], copy)
            yield copy
        except CorruptFile as error:
            raise CorruptFile(self.store.url_of(name), error.expected, error.got, error.byte) from None
        finally:
            self._give_back(copy)

    def _take_copy(self, suffix: str) -> Path:
        """A file that is nobody else's now. What another file was in before has its memory already."""
        with self._lock:
            self._readers += 1
            if self._free_copies:
                return self._free_copies.pop()
        descriptor, copy = tempfile.mkstemp(prefix="fetched-", suffix=suffix, dir=self._scratch.path)
        os.close(descriptor)
        return Path(copy)

    def _give_back(self, copy: Path) -> None:
        """For the next file; when nobody reads any more, nothing stays on the disk."""
        with self._lock:
            self._free_copies.append(copy)
            self._readers -= 1
            unused = [] if self._readers else [self._free_copies.pop() for _ in range(len(self._free_copies))]
        for one in unused:
            one.unlink()

    @contextmanager
    def by_url(self) -> Iterator[None]:
        """Within the block, a file of the skeleton that is found to be corrupt is named by its place in the store."""
        try:
            yield
        except CorruptFile as error:
            if not Path(error.file).is_relative_to(self.root):
                raise
            raise CorruptFile(
                self.store.url_of(self._name_of(Path(error.file))), error.expected, error.got, error.byte
            ) from None

    def _name_of(self, path: Path) -> str:
        name = path.relative_to(self.root).as_posix()
        return "" if name == "." else name

    def _place(self, entry: Entry, whole: bool) -> None:
        """A file of the skeleton, with its size and time."""
        path = self.root / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if whole or entry.size <= 2 * _END_BYTES:
            fetch(self.store, entry, path)
        else:
            with path.open("wb") as file:
                file.truncate(entry.size)
                for begin, end in ((0, _END_BYTES), (entry.size - _END_BYTES, entry.size)):
                    file.seek(begin)
                    file.write(b"".join(self.store.read(entry, begin, end)))
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
