"""Writes a checkpoint directory, docs/formats/checkpoint.md."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime as DateTime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia._core import write_emb
from persia.errors import InvalidInput
from persia.signs import farmhash64

from ..durable import is_temporary, sync_directory, write_file
from ..marker import MARKER, MAX_NUMBER, Marker
from . import buckets
from .arrays import check_block
from .buckets import F32, U64, Buckets

SHARD = re.compile(r"s(0|[1-9]\d*)")
MAX_FILES = 1 << 20
EMB_FILE = re.compile(r"replica_(\d+)_shard_(\d+)\.emb")


def write_checkpoint(
    directory: str | os.PathLike[str],
    blocks: Iterable[tuple[U64, F32]],
    *,
    shards: int,
    files_per_shard: int = 8,
    datetime: DateTime | None = None,
    overwrite: bool = False,
    workers: int = 4,
) -> None:
    """Writes the rows to their shards, and says that the checkpoint is complete when all of it is on disk.

    Memory: what is beyond 256 MiB goes through a temporary file in `directory`, so the disk needs room for the rows twice.

    Args:
        directory: made if need be. What an unfinished checkpoint left in it is removed, too; other files stay.
        blocks: pairs of signs (n) of uint64 and rows (n, dim) of float32, the least recently used first. Dims may differ
            from block to block; a sign may come only once.
        shards: how many embedding servers the checkpoint is for. A row goes to shard farmhash64(sign) % shards.
        files_per_shard: servers read this many files at a time, at most.
        datetime: when the rows were current; now, if None. A naive one is local time.
        overwrite: a finished checkpoint in `directory` is removed, when all rows have come, rather than being an error.
        workers: how many files are written at a time.

    Raises:
        InvalidInput: wrong arrays or numbers, a sign that comes twice, or a finished checkpoint is there.
        OSError: the system refuses. The directory then has no marker, so no server takes it for a checkpoint.
    """
    nanoseconds = time.time_ns() if datetime is None else _nanoseconds(datetime)
    marker = Marker(shards, files_per_shard, *divmod(nanoseconds, 1_000_000_000))
    with CheckpointWriter(Path(directory), marker, overwrite=overwrite, workers=workers) as writer:
        for block in blocks:
            writer.add(*check_block(*block))
        writer.finish()


class CheckpointWriter:
    """What write_checkpoint and reshard share. `ages` rows of one file are kept apart: those of age 0 stand first."""

    def __init__(
        self,
        directory: Path,
        marker: Marker,
        *,
        overwrite: bool,
        workers: int,
        ages: int = 1,
        of_shards: Marker | None = None,
    ) -> None:
        """of_shards: the marker of each shard's directory, if it is not that of the whole."""
        for name, value in (("shards", marker.num_shards), ("files", marker.num_internal_shards), ("workers", workers)):
            if not 1 <= value <= MAX_NUMBER:
                raise InvalidInput(f"expected 1 to {MAX_NUMBER} {name}, got {value}")
        self._directory = directory
        self._marker = marker
        self._of_shards = of_shards or marker
        self._workers = workers
        self._ages = ages
        self._files = marker.num_shards * marker.num_internal_shards
        if self._files > MAX_FILES:
            raise InvalidInput(f"expected at most {MAX_FILES} files, got {self._files}")
        if not overwrite and (finished := directory / MARKER).exists():
            raise InvalidInput(f"expected a directory without a finished checkpoint, got {finished}")
        directory.mkdir(parents=True, exist_ok=True)
        sync_directory(directory.parent)
        self._buckets = Buckets(self._files * ages, directory, buckets.MEMORY)

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._buckets.close()

    def add(self, signs: U64, rows: F32, ages: npt.NDArray[np.uint8] | None = None) -> None:
        """Takes signs (n), rows (n, dim), ages (n) below `ages`."""
        # As files is a multiple of shards, (hash % files) % shards is the hash % shards that readers go by.
        bucket = farmhash64(signs) % np.uint64(self._files) * np.uint64(self._ages)
        self._buckets.add(bucket if ages is None else bucket + ages, signs, rows)

    def finish(self, progress: Callable[[], None] = lambda: None) -> None:
        """Writes the files, then the markers. `progress` is called for each file that is on disk."""
        _clear(self._directory)  # only now: whoever hands over rows may still fail, and then the old checkpoint stays
        for shard in range(self._marker.num_shards):
            (self._directory / f"s{shard}").mkdir(exist_ok=True)
        sync_directory(self._directory)
        with ThreadPoolExecutor(self._workers) as pool:
            pending = [pool.submit(self._write_file, file) for file in range(self._files)]
            try:
                for future in pending:
                    future.result()
                    progress()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        for shard in range(self._marker.num_shards):
            write_file(self._directory / f"s{shard}" / MARKER, self._of_shards.to_bytes())
        write_file(self._directory / MARKER, self._marker.to_bytes())

    def _write_file(self, file: int) -> None:
        index, shard = divmod(file, self._marker.num_shards)
        path = self._directory / f"s{shard}" / f"replica_{shard}_shard_{index}.emb"
        blocks = [block for age in range(self._ages) for block in self._buckets.blocks(file * self._ages + age)]
        _check_each_once(blocks, path)
        write_emb(path, blocks)


def _check_each_once(blocks: list[tuple[U64, F32]], path: Path) -> None:
    signs = np.sort(np.concatenate([signs for signs, _ in blocks])) if blocks else np.empty(0, np.uint64)
    twice = signs[1:][signs[1:] == signs[:-1]]
    if len(twice):
        # Which of its rows would count is up to the order in which a reader happens to load the files' rows.
        raise InvalidInput(f"expected each sign once, got {twice[0]} twice, for {path}")


def _clear(directory: Path) -> None:
    """Removes what an earlier checkpoint left in the directory: stale files would be loaded with the new."""
    marker = directory / MARKER
    if marker.exists():
        marker.unlink()
        # From here on it is unfinished, also after a power cut. Only then may files go.
        sync_directory(directory)
    for path in directory.iterdir():
        if is_temporary(path.name):
            path.unlink()
        elif SHARD.fullmatch(path.name) and path.is_dir():
            _clear_shard(path)


def _clear_shard(shard: Path) -> None:
    for path in shard.iterdir():
        if path.name == MARKER or path.suffix == ".emb" or is_temporary(path.name):
            path.unlink()
    if not any(shard.iterdir()):
        shard.rmdir()


def _nanoseconds(moment: DateTime) -> int:
    nanoseconds = int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
    if nanoseconds < 0:
        raise InvalidInput(f"expected a datetime from 1970 on, got {moment}")
    return nanoseconds
