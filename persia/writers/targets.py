"""Where a checkpoint is written: a directory, or a store, to which each file goes as soon as it is whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from persia.errors import InvalidInput, Unavailable
from persia.formats.layout import CHECKPOINT_MARKER, EMB, ENDS, SHARD_LIKE, shard_directories, shard_directory
from persia.storage import Place
from persia.system.durable import is_temporary, sync_directory, write_file

__all__ = ["DirectoryTarget", "StoreTarget", "Target", "target_of"]


class Target:
    """`work` is the directory in which files of the checkpoint are written, below the names that they are to have."""

    work: Path

    def begin(self, shards: int, *, overwrite: bool) -> None:
        """Raises InvalidInput: a finished checkpoint is there, or what would keep servers from loading this one. OSError."""
        raise NotImplementedError

    def clear(self, shards: int) -> None:
        """Removes what an earlier checkpoint left, its marker first, and makes room for the shards. Raises OSError."""
        raise NotImplementedError

    def written(self, path: Path) -> None:
        """A file below `work` is whole. Raises OSError."""
        raise NotImplementedError

    def mark(self, path: Path, data: bytes) -> None:
        """Writes a small file below `work` whose being there means something. Raises OSError, Unavailable."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing more is written."""
        raise NotImplementedError


def target_of(place: Place) -> Target:
    """Raises InvalidInput, OSError."""
    return DirectoryTarget(place.path) if place.path is not None else StoreTarget(place)


class DirectoryTarget(Target):
    """Of a mounted file system."""

    def __init__(self, directory: Path) -> None:
        self.work = directory

    def begin(self, shards: int, *, overwrite: bool) -> None:
        """See Target."""
        if not overwrite and (finished := self.work / CHECKPOINT_MARKER).exists():
            raise _is_finished(str(finished))
        self.work.mkdir(parents=True, exist_ok=True)
        left = {path for path in shard_directories(self.work).values() if _is_left_of_a_checkpoint(path)}
        _check_nothing_is_in_the_way(str(self.work), (path.name for path in self.work.iterdir() if path not in left), shards)
        sync_directory(self.work.parent)

    def clear(self, shards: int) -> None:
        """See Target."""
        marker = self.work / CHECKPOINT_MARKER
        if marker.exists():
            marker.unlink()
            # From here on it is unfinished, also after a power cut. Only then may files go.
            sync_directory(self.work)
        for path in self.work.iterdir():
            if is_temporary(path.name):
                path.unlink()
        for path in shard_directories(self.work).values():
            _clear_shard(path)
        for shard in range(shards):
            shard_directory(self.work, shard).mkdir(exist_ok=True)
        sync_directory(self.work)

    def written(self, path: Path) -> None:
        """See Target."""

    def mark(self, path: Path, data: bytes) -> None:
        """See Target."""
        write_file(path, data)

    def close(self) -> None:
        """See Target."""


class StoreTarget(Target):
    """Of a store. The local disk, in the system's temporary directory, needs room for the files that are just written."""

    def __init__(self, place: Place) -> None:
        """Raises InvalidInput, OSError."""
        self._store = place.open()
        self._scratch = tempfile.TemporaryDirectory(prefix="persia-written-")
        self.work = Path(self._scratch.name)

    def begin(self, shards: int, *, overwrite: bool) -> None:
        """See Target."""
        names = [entry.name for entry in self._store.list_files()]
        if not overwrite and CHECKPOINT_MARKER in names:
            raise _is_finished(self._store.url_of(CHECKPOINT_MARKER))
        others = (name.partition("/")[0] for name in names if not _is_of_a_checkpoint(name.partition("/")[2]))
        _check_nothing_is_in_the_way(self._store.url, others, shards)

    def clear(self, shards: int) -> None:
        """See Target."""
        self._store.remove(CHECKPOINT_MARKER)
        for entry in list(self._store.list_files()):
            directory, _, name = entry.name.partition("/")
            if SHARD_LIKE.fullmatch(directory) and _is_of_a_checkpoint(name):
                self._store.remove(entry.name)
        for shard in range(shards):
            shard_directory(self.work, shard).mkdir(exist_ok=True)

    def written(self, path: Path) -> None:
        """See Target."""
        self._store.put(self._name_of(path), path)
        path.unlink()

    def mark(self, path: Path, data: bytes) -> None:
        """See Target. A marker that has come meanwhile is somebody else's, whose files are among these."""
        name = self._name_of(path)
        if path.name != CHECKPOINT_MARKER:
            self._store.put(name, data)
        elif not self._store.create(name, data) and self._store.read_whole(name) != data:
            url = self._store.url_of(name)
            raise Unavailable(f"expected one writer of {self._store.url}, but another one has put {url}: write it again")

    def close(self) -> None:
        """See Target."""
        self._scratch.cleanup()

    def _name_of(self, path: Path) -> str:
        return path.relative_to(self.work).as_posix()


def _is_finished(marker: str) -> InvalidInput:
    return InvalidInput(f"expected a directory without a finished checkpoint, got {marker}")


def _check_nothing_is_in_the_way(directory: str, names: Iterable[str], shards: int) -> None:
    """Servers refuse a checkpoint with an `s5` that its marker does not count: it may be a shard of another one."""
    ours = {f"s{shard}" for shard in range(shards)}
    for name in names:
        if SHARD_LIKE.fullmatch(name) and name not in ours:
            raise InvalidInput(
                f"expected a directory without {directory}/{name}, which is neither a shard of the new checkpoint nor left of "
                "an earlier one: servers would refuse the checkpoint; move it away"
            )


def _is_left_of_a_checkpoint(shard: Path) -> bool:
    return all(_is_of_a_checkpoint(path.name) and not path.is_dir() for path in shard.iterdir())


def _is_of_a_checkpoint(name: str) -> bool:
    return name == CHECKPOINT_MARKER or name.endswith((EMB, ENDS)) or is_temporary(name)


def _clear_shard(shard: Path) -> None:
    for path in shard.iterdir():
        if _is_of_a_checkpoint(path.name):
            path.unlink()
    if not any(shard.iterdir()):
        shard.rmdir()
