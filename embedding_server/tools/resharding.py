"""A checkpoint for another number of shards."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from persia._core import EmbReader
from persia.errors import InvalidInput
from persia.formats.checkpoint import open_checkpoint_at
from persia.formats.layout import ENDS, emb_files, shard_directory
from persia.formats.marker import Marker
from persia.formats.sign_files import read_sign_file
from persia.signs import shard_of
from persia.storage import Place, place_of
from persia.writers.buckets import F32, MEMORY, U64
from persia.writers.checkpoint import CheckpointWriter

AGES = 4  # what EmbReader tells: the quarter of the order of use that a row is in


class Resharded(msgspec.Struct, frozen=True):
    """`elsewhere`: rows that stood in a shard that no server would have asked for them, and were left out."""

    rows: int
    elsewhere: int


def reshard(
    source: Place | Path,
    target: Place | Path,
    *,
    shards: int,
    files_per_shard: int | None = None,
    workers: int = 4,
    memory: int = MEMORY,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> Resharded:
    """Writes the checkpoint in `source` to `target`, for another number of shards.

    Optimizer state is left out. The datetime of the root's marker stays; those of the shards are the earliest of the source's
    bounds, as any packet of the source's time may change rows of any shard of the target. The order of use is kept in
    quarters of each file of the source, which is what a server makes of it; within a quarter rows stand as in the source.

    Args:
        source: a finished checkpoint. Of one in a store, one file at a time lies in the system's temporary directory.
        target: made if need be; treated as by write_checkpoint.
        shards: how many embedding servers it is for.
        files_per_shard: as many as in the source, if None.
        workers: how many files are written at a time.
        memory: as for write_checkpoint.
        overwrite: a finished checkpoint in `target` is removed, when all of the source has been read.
        progress: called with a step's name, and with how many of its files are done.

    Raises:
        InvalidInput: the target is a finished checkpoint, or source and target lie in each other.
        CorruptFile: the source is no complete checkpoint by what servers take for one, or a file of it is broken. The target
            is then as it was.
    """
    source, target = (place_of(place) if isinstance(place, Path) else place for place in (source, target))
    _check_apart(source, target)
    checkpoint = open_checkpoint_at(source, workers=workers)
    marker = checkpoint.marker
    new = Marker(shards, files_per_shard or marker.num_internal_shards, marker.seconds, marker.nanos)
    of_shards = msgspec.structs.replace(new, seconds=checkpoint.bounds.earliest, nanos=0)
    files = [
        (file, shard)
        for shard in range(marker.num_shards)
        for file in emb_files(shard_directory(checkpoint.directory, shard), shard, marker.num_internal_shards)
    ]
    rows = elsewhere = 0
    with CheckpointWriter(
        target, new, of_shards=of_shards, overwrite=overwrite, workers=workers, memory=memory, ages=AGES
    ) as writer:
        for number, (file, shard) in enumerate(files, 1):
            with checkpoint.at_hand(file) as here:
                copied = _copy(here, shard, marker.num_shards, writer)
            with checkpoint.tree.by_url() if checkpoint.tree is not None else nullcontext():
                _copy_ends(file, shard, marker.num_shards, writer)
            rows, elsewhere = rows + copied.rows, elsewhere + copied.elsewhere
            progress("read", number, len(files))
        done, total = itertools.count(1), new.num_shards * new.num_internal_shards
        writer.finish(lambda: progress("write", next(done), total))
    return Resharded(rows, elsewhere)


def _check_apart(source: Place, target: Place) -> None:
    """Raises InvalidInput if one of them lies in the other."""
    one, other = (str(place.path.resolve()) if place.path is not None else place.text for place in (source, target))
    if f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/"):
        raise InvalidInput(f"expected a target beside the source, got {target} for {source}")


def _copy(file: Path, shard: int, count: int, writer: CheckpointWriter) -> Resharded:
    """Hands the rows of a file of this shard, of `count`, to the writer."""
    rows = elsewhere = 0
    for signs, block, ages in _blocks(file):
        mine = shard_of(signs, count) == shard
        writer.add(signs[mine], block[mine], ages[mine])
        rows += int(np.count_nonzero(mine))
        elsewhere += int(np.count_nonzero(~mine))
    return Resharded(rows, elsewhere)


def _copy_ends(file: Path, shard: int, count: int, writer: CheckpointWriter) -> None:
    """Hands to the writer when rows of the file end."""
    if (beside := file.with_suffix(ENDS)).exists():
        limited = read_sign_file(beside)
        assert limited.ends is not None
        mine = shard_of(limited.signs, count) == shard
        writer.add_ends(limited.signs[mine], limited.ends[mine])


def _blocks(path: Path) -> Iterator[tuple[U64, F32, npt.NDArray[np.uint8]]]:
    """The rows of a file, one dim at a time: signs (n), rows (n, dim), ages (n)."""
    for signs, dims, values, ages in EmbReader(path, recency=True):
        starts = np.cumsum(dims, dtype=np.int64) - dims
        for dim in np.unique(dims):
            of_dim = dims == dim
            yield signs[of_dim], values[starts[of_dim, None] + np.arange(dim)], ages[of_dim]
