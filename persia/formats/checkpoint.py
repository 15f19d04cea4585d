"""A checkpoint's directory: whether it is complete, what is in it, and what is wrong with it. No row is read here.

Loading, inspecting and resharding open a checkpoint here, so that none of them takes for one what another one refuses.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from persia.errors import CorruptFile
from persia.storage import Place, Requests
from persia.storage.tree import Tree

from .bounds import Bounds, bound_of_shard
from .layout import CHECKPOINT_MARKER, EMB, ENDS, SHARD_LIKE, emb_files, shard_directory
from .marker import Marker, read_marker

__all__ = [
    "Checkpoint",
    "Survey",
    "marker_of",
    "open_checkpoint",
    "open_checkpoint_at",
    "survey_checkpoint",
    "tree_of_checkpoint",
]


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint. `files` are those that one server needs; of a checkpoint in a store, only their ends are there."""

    directory: Path
    marker: Marker
    files: tuple[Path, ...]
    ends: tuple[Path, ...]  # beside some of them: when rows end
    bounds: Bounds  # which packets it has
    stamps: tuple[tuple[int, ...], ...]  # of the files: another one is another file
    tree: Tree | None = field(default=None, compare=False)  # of which `directory` is the skeleton; None: it is the directory

    def __str__(self) -> str:
        """Where it lies, for people."""
        return str(self.directory) if self.tree is None else self.tree.store.url

    def at_hand(self, path: Path) -> AbstractContextManager[Path]:
        """One of its files, to be read whole as long as the block lasts. Raises OSError."""
        return nullcontext(path) if self.tree is None else self.tree.fetched(path)

    def each_at_hand(self, paths: Iterable[Path]) -> Iterator[Path]:
        """Some of its files, one after the other; each is there until the next one is asked for."""
        for path in paths:
            with self.at_hand(path) as here:
                yield here

    def is_still(self, shard_index: int | None = None, shard_count: int = 0) -> bool:
        """Whether it is what would be opened now, by the same server. Raises CorruptFile, OSError."""
        if self.tree is not None:
            return self.tree.is_unchanged()
        return open_checkpoint(self.directory, shard_index, shard_count) == self


@dataclass(frozen=True)
class Survey:
    """What a look at a directory's markers and names found: a checkpoint, or the faults that keep servers from loading it."""

    marker: Marker | None  # the root's
    checkpoint: Checkpoint | None  # None if there is any fault
    faults: tuple[CorruptFile, ...]


def open_checkpoint(directory: Path, shard_index: int | None = None, shard_count: int = 0) -> Checkpoint:
    """Checks markers and names before any row is read: of what one server needs, or all together.

    Raises the first fault as CorruptFile, or OSError.
    """
    survey = survey_checkpoint(directory, shard_index, shard_count)
    if survey.checkpoint is None:
        raise survey.faults[0]
    return survey.checkpoint


def open_checkpoint_at(
    place: Place | Path,
    buffer: Path | None = None,
    requests: Requests | None = None,
    shard_index: int | None = None,
    shard_count: int = 0,
    workers: int = 4,
) -> Checkpoint:
    """As open_checkpoint(), also of one in a store: there whatever is wrong is named by its URL.

    Args:
        place: the checkpoint's directory.
        buffer: in which directory of the local disk files of a store lie while they are read; None: the system's temporary one.
        requests: counts what a store is asked.
        shard_index: as for open_checkpoint().
        shard_count: as for open_checkpoint().
        workers: how many files are fetched at a time.
    """
    path = place if isinstance(place, Path) else place.path
    if path is not None:
        return open_checkpoint(path, shard_index, shard_count)
    assert isinstance(place, Place)
    tree = tree_of_checkpoint(place, buffer, requests, workers)
    with tree.by_url():
        return replace(open_checkpoint(tree.root, shard_index, shard_count), tree=tree)


def tree_of_checkpoint(place: Place, buffer: Path | None = None, requests: Requests | None = None, workers: int = 4) -> Tree:
    """The skeleton of a checkpoint in a store; only files of rows are not fetched. Raises InvalidInput, OSError."""
    store = place.open(requests)
    return Tree(store, buffer or Path(tempfile.gettempdir()), lambda name: not name.endswith(EMB), workers)


def survey_checkpoint(directory: Path, shard_index: int | None = None, shard_count: int = 0) -> Survey:
    """Looks at all that one server needs, or all servers together, and goes on after a fault.

    Raises OSError for what cannot be looked at.
    """
    if not directory.is_dir():
        raise FileNotFoundError(2, f"expected a checkpoint directory, there is none at {directory}", str(directory))
    faults: list[CorruptFile] = []
    root = _marker_or_fault(directory, faults)
    if root is None:
        return Survey(None, None, tuple(faults))
    files: list[Path] = []
    bounds: list[int] = []
    for i in _shards_or_fault(directory, root, faults):
        shard = shard_directory(directory, i)
        marker = _marker_or_fault(shard, faults)
        if marker is None:
            continue
        if (marker.num_shards, marker.num_internal_shards) != (root.num_shards, root.num_internal_shards):
            expected = f"the counts of {directory / CHECKPOINT_MARKER}: {root}"
            faults.append(CorruptFile(str(shard / CHECKPOINT_MARKER), expected, str(marker), 0))
        bounds.append(bound_of_shard(shard, marker, sorted(shard.glob(f"*{EMB}"))))
        # As many training shards as serving ones: the signs of ours are all in the directory of ours.
        if shard_index is None or root.num_shards != shard_count or i == shard_index:
            files += _files_or_fault(shard, i, marker.num_internal_shards, faults)
    ends = [path for path in (file.with_suffix(ENDS) for file in files) if path.exists()]
    stamps = tuple(_stamp(path, faults) for path in files + ends)
    if faults:
        return Survey(root, None, tuple(faults))
    return Survey(root, Checkpoint(directory, root, tuple(files), tuple(ends), Bounds.of(bounds), stamps), ())


def _shards_or_fault(directory: Path, root: Marker, faults: list[CorruptFile]) -> list[int]:
    """The numbers of those that are expected and there."""
    expected = [shard_directory(directory, i).name for i in range(root.num_shards)]
    found = {entry.name for entry in directory.iterdir() if SHARD_LIKE.fullmatch(entry.name)}
    if found != set(expected):
        got = ", ".join(sorted(found)) or "none"
        faults.append(CorruptFile(str(directory), f"the shards {', '.join(expected)} that {CHECKPOINT_MARKER} counts", got, 0))
    return [i for i, name in enumerate(expected) if name in found]


def _marker_or_fault(directory: Path, faults: list[CorruptFile]) -> Marker | None:
    try:
        return marker_of(directory)
    except CorruptFile as fault:
        faults.append(fault)
        return None


def marker_of(directory: Path) -> Marker:
    """The marker, which has to be there. Raises CorruptFile, OSError."""
    marker = read_marker(directory)
    if marker is None:
        path = str(directory / CHECKPOINT_MARKER)
        raise CorruptFile(path, "the marker of a complete checkpoint", "no such file: it is incomplete", 0)
    return marker


def _files_or_fault(shard: Path, index: int, count: int, faults: list[CorruptFile]) -> list[Path]:
    """Those that are expected and there."""
    expected = emb_files(shard, index, count)
    found = set(shard.glob(f"*{EMB}"))
    missing = next((path for path in expected if path not in found), None)
    extra = min(found.difference(expected), default=None)
    if missing or extra:
        got = f"{missing.name} is missing" if missing else f"{extra and extra.name} is too much"
        faults.append(CorruptFile(str(shard), f"the {count} files that {CHECKPOINT_MARKER} counts", got, 0))
    return [path for path in expected if path in found]


def _stamp(path: Path, faults: list[CorruptFile]) -> tuple[int, ...]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        faults.append(CorruptFile(str(path), "a file", "something else", 0))  # a pipe would never end
    return status.st_ino, status.st_size, status.st_mtime_ns
