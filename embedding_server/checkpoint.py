"""Loading a sparse checkpoint: any number of its shards into this one, whole or not at all."""

from __future__ import annotations

import logging
import re
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import click

from persia import _core
from persia.errors import CorruptFile

from .bounds import Bounds, bound_of_shard
from .marker import MARKER, Marker, read_marker
from .non_finite import NonFiniteTally

__all__ = ["Checkpoint", "load_checkpoint", "open_checkpoint"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint. `files` are those that one server needs."""

    directory: Path
    marker: Marker
    files: tuple[Path, ...]
    ends: tuple[Path, ...]  # beside some of them: when rows end
    bounds: Bounds  # which packets it has
    stamps: tuple[tuple[int, ...], ...]  # of the files: another one is another file


@dataclass(frozen=True)
class Survey:
    """What a look at a directory's markers and names found: a checkpoint, or the faults that keep servers from loading it."""

    marker: Marker | None  # the root's
    checkpoint: Checkpoint | None  # None if there is any fault
    faults: tuple[CorruptFile, ...]


def open_checkpoint(directory: Path, shard_index: int, shard_count: int) -> Checkpoint:
    """Checks markers and names before any row is read. Raises the first fault as CorruptFile, or OSError."""
    survey = survey_checkpoint(directory, shard_index, shard_count)
    if survey.checkpoint is None:
        raise survey.faults[0]
    return survey.checkpoint


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
    names = {entry.name for entry in directory.iterdir() if re.fullmatch(r"s\d+", entry.name)}
    expected = [f"s{i}" for i in range(root.num_shards)]
    if names != set(expected):
        wanted, got = ", ".join(expected), ", ".join(sorted(names)) or "none"
        faults.append(CorruptFile(str(directory), f"the shards {wanted} that {MARKER} counts", got, 0))
    files: list[Path] = []
    bounds: list[int] = []
    for i, name in enumerate(expected):
        shard = directory / name
        if name not in names or (marker := _marker_or_fault(shard, faults)) is None:
            continue
        if (marker.num_shards, marker.num_internal_shards) != (root.num_shards, root.num_internal_shards):
            faults.append(CorruptFile(str(shard / MARKER), f"the counts of {directory / MARKER}: {root}", str(marker), 0))
        bounds.append(bound_of_shard(shard, marker, sorted(shard.glob("*.emb"))))
        # As many training shards as serving ones: the signs of ours are all in the directory of ours.
        if shard_index is None or root.num_shards != shard_count or i == shard_index:
            files += _files_or_fault(shard, i, marker.num_internal_shards, faults)
    ends = [path for path in (file.with_suffix(".ttl") for file in files) if path.exists()]
    stamps = tuple(_stamp(path, faults) for path in files + ends)
    if faults:
        return Survey(root, None, tuple(faults))
    return Survey(root, Checkpoint(directory, root, tuple(files), tuple(ends), Bounds.of(bounds), stamps), ())


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
        path = str(directory / MARKER)
        raise CorruptFile(path, "the marker of a complete checkpoint", "no such file: it is incomplete", 0)
    return marker


def _files_or_fault(shard: Path, index: int, count: int, faults: list[CorruptFile]) -> list[Path]:
    """Those that are expected and there."""
    expected = emb_files(shard, index, count)
    found = set(shard.glob("*.emb"))
    missing = next((path for path in expected if path not in found), None)
    extra = min(found.difference(expected), default=None)
    if missing or extra:
        got = f"{missing.name} is missing" if missing else f"{extra and extra.name} is too much"
        faults.append(CorruptFile(str(shard), f"the {count} files that {MARKER} counts", got, 0))
    return [path for path in expected if path in found]


def emb_files(shard: Path, index: int, count: int) -> list[Path]:
    """The files that a training shard with so many of them has."""
    return [shard / f"replica_{index}_shard_{k}.emb" for k in range(count)]


def _stamp(path: Path, faults: list[CorruptFile]) -> tuple[int, ...]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        faults.append(CorruptFile(str(path), "a file", "something else", 0))  # a pipe would never end
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Estimate:
    """What loading will need, judged by the first rows of each file."""

    rows: int
    bytes: int


def estimate(checkpoint: Checkpoint, storage: str, shard_index: int, shard_count: int) -> Estimate:
    rows = size = 0
    for path in checkpoint.files:
        reader = _core.EmbReader(path)
        share, dim = reader.sample(shard_index, shard_count)
        of_file = round(reader.rows * share)
        rows += of_file
        size += round(of_file * _core.bytes_per_row(storage, dim))
    return Estimate(rows, size)


def load_checkpoint(
    checkpoint: Checkpoint,
    builder: _core.TableBuilder,
    shard_index: int,
    shard_count: int,
    workers: int,
    non_finite: NonFiniteTally | None = None,
) -> int:
    """Loads the files, several at a time. Returns how many rows belong here. An error spoils the builder.

    Raises CorruptFile also for a checkpoint that was written anew meanwhile: its files may be of two.
    """
    tally = non_finite or NonFiniteTally()
    kept = 0

    def load(path: Path) -> int:
        found = tally.finder()
        rows = builder.load_emb(path, shard_index, shard_count, found)
        tally.note(path, found)
        return rows

    with ThreadPoolExecutor(workers, thread_name_prefix="load") as pool:
        futures = [pool.submit(load, path) for path in checkpoint.files]
        try:
            for future in reported(futures, builder):
                kept += future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if open_checkpoint(checkpoint.directory, shard_index, shard_count) != checkpoint:
        raise CorruptFile(
            str(checkpoint.directory), "a checkpoint that stays as it is", "one that changed while it was loaded", 0
        )
    return kept


def reported(futures: list[Future[int]], builder: _core.TableBuilder) -> Iterator[Future[int]]:
    """The futures in the order in which they end: under a progress bar on a terminal, else with a line in the log each."""
    if sys.stderr.isatty():
        with click.progressbar(as_completed(futures), length=len(futures), label="loading", file=sys.stderr) as bar:
            yield from bar
        return
    for done, future in enumerate(as_completed(futures), 1):
        yield future
        beyond = f", {builder.evicted} were over the capacity" if builder.evicted else ""
        log.info("loaded %d of %d files: the table holds %d rows%s", done, len(futures), builder.rows, beyond)
