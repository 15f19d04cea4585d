"""Writes a checkpoint directory, docs/formats/checkpoint.md."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime as DateTime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persia._core import write_emb
from persia.errors import DuplicateSign, InvalidInput
from persia.formats.layout import CHECKPOINT_ID, CHECKPOINT_MARKER, ENDS, emb_file, shard_directory
from persia.formats.marker import MAX_NUMBER, Marker
from persia.formats.sign_files import write_sign_file
from persia.signs import farmhash64
from persia.storage import Place, place_of

from .arrays import check_lifetimes, check_signs
from .buckets import F32, MEMORY, U64, Buckets
from .named import ConfigLike, SignMaker
from .targets import target_of

MAX_FILES = 1 << 20
# (feature, ids, rows) or (signs, rows); (feature, ids, seconds) or (signs, seconds)
Block = tuple[str, Any, F32] | tuple[U64, F32]
Lifetimes = tuple[str, Any, Any] | tuple[U64, Any]


def write_checkpoint(
    directory: str | os.PathLike[str],
    blocks: Iterable[Block],
    *,
    shards: int,
    embedding_config: ConfigLike | None = None,
    ttl: Iterable[Lifetimes] = (),
    files_per_shard: int = 8,
    datetime: DateTime | None = None,
    overwrite: bool = False,
    allow_non_finite: bool = False,
    workers: int = 4,
    memory: int = MEMORY,
) -> None:
    """Writes the rows to their shards, and says that the checkpoint is complete when all of it is on disk.

    Args:
        directory: made if need be; also the URL of a store, as s3://bucket/path. What an unfinished checkpoint left in it is
            removed, too; other files stay. It may not have an `s5` of others' files where the checkpoint has five shards.
        blocks: triples of a feature's name, its ids (n) as they are in requests, and rows (n, dim) of float32; or pairs of
            signs (n) of uint64 and rows. The least recently used come first. A sign may come only once.
        shards: how many embedding servers the checkpoint is for. A row goes to shard farmhash64(sign) % shards.
        embedding_config: the embedding config or its file, with which ids become signs.
        ttl: which rows go some time after `datetime`: triples of a feature's name, ids (n) and seconds, for all or for each
            (n); or pairs of signs (n) and seconds. 16 bytes of memory for each.
        files_per_shard: servers read this many files at a time, at most.
        datetime: when the rows were current; now, if None. A naive one is local time.
        overwrite: a finished checkpoint in `directory` is removed, when all rows have come, rather than being an error.
        allow_non_finite: rows with NaN or infinite numbers are written rather than being an error.
        workers: how many files are written at a time.
        memory: bytes for rows. What is beyond goes through a temporary file in `directory`, so the disk needs room for them
            twice; for a store it is in the system's temporary directory.

    Raises:
        FeatureError: no such slot, another dim, a hash stack, or ids that share a row but not its numbers.
        InvalidInput: wrong arrays or numbers, ids in the place of signs, a sign that comes twice, an end of a row that is not
            there, a finished checkpoint is there, or something that would keep servers from loading this one.
        ConfigError: the embedding config is wrong.
        OSError: the system or the store refuses. The directory then has no marker, so no server takes it for a checkpoint.
    """
    nanoseconds = time.time_ns() if datetime is None else _nanoseconds(datetime)
    marker = Marker(shards, files_per_shard, *divmod(nanoseconds, 1_000_000_000))
    signer = SignMaker(embedding_config, allow_non_finite=allow_non_finite)
    place = place_of(os.fspath(directory))
    with CheckpointWriter(place, marker, overwrite=overwrite, workers=workers, memory=memory) as writer:
        for block in blocks:
            writer.add(*(signer.named_block(*block) if len(block) == 3 else signer.block(*block)))
        for rows in ttl:
            signs = signer.named_signs(*rows[:2]) if len(rows) == 3 else check_signs(rows[0])
            writer.add_ends(signs, check_lifetimes(rows[-1], len(signs), nanoseconds / 1e9))
        writer.finish()


class CheckpointWriter:
    """What write_checkpoint and reshard share. `ages` rows of one file are kept apart: those of age 0 stand first."""

    def __init__(
        self,
        place: Place | Path,
        marker: Marker,
        *,
        overwrite: bool,
        workers: int,
        memory: int = MEMORY,
        ages: int = 1,
        of_shards: Marker | None = None,
    ) -> None:
        """of_shards: the marker of each shard's directory, if it is not that of the whole."""
        for name, value in (("shards", marker.num_shards), ("files", marker.num_internal_shards), ("workers", workers)):
            if not 1 <= value <= MAX_NUMBER:
                raise InvalidInput(f"expected 1 to {MAX_NUMBER} {name}, got {value}")
        self._marker = marker
        self._of_shards = of_shards or marker
        self._workers = workers
        self._ages = ages
        self._files = marker.num_shards * marker.num_internal_shards
        if self._files > MAX_FILES:
            raise InvalidInput(f"expected at most {MAX_FILES} files, got {self._files}")
        self._target = target_of(place_of(place) if isinstance(place, Path) else place)
        try:
            self._target.begin(marker.num_shards, overwrite=overwrite)
        except BaseException:
            self._target.close()
            raise
        self._directory = self._target.work
        self._ends: list[tuple[U64, U64]] = []
        self._buckets = Buckets(self._files * ages, self._directory, memory)

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._buckets.close()
        self._target.close()

    def add(self, signs: U64, rows: F32, ages: npt.NDArray[np.uint8] | None = None) -> None:
        """Takes signs (n), rows (n, dim), ages (n) below `ages`."""
        # As files is a multiple of shards, (hash % files) % shards is the hash % shards that readers go by.
        bucket = farmhash64(signs) % np.uint64(self._files) * np.uint64(self._ages)
        self._buckets.add(bucket if ages is None else bucket + ages, signs, rows)

    def add_ends(self, signs: U64, ends: U64) -> None:
        """Takes the unix second (n) at which the row of each sign (n) ends. The rows may come before or after."""
        self._ends.append((signs, ends))

    def finish(self, progress: Callable[[], None] = lambda: None) -> None:
        """Writes the files, then the markers. `progress` is called for each file that is on disk."""
        # Only now: whoever hands over rows may still fail, and then the old checkpoint stays.
        self._target.clear(self._marker.num_shards)
        ends = self._ends_by_file()
        with ThreadPoolExecutor(self._workers) as pool:
            pending = [pool.submit(self._write_file, file, ends.get(file)) for file in range(self._files)]
            try:
                for future in pending:
                    future.result()
                    progress()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        for shard in range(self._marker.num_shards):
            self._target.mark(shard_directory(self._directory, shard) / CHECKPOINT_MARKER, self._of_shards.to_bytes())
        self._target.mark(self._directory / CHECKPOINT_ID, secrets.token_hex(16).encode() + b"\n")
        self._target.mark(self._directory / CHECKPOINT_MARKER, self._marker.to_bytes())

    def _ends_by_file(self) -> dict[int, tuple[U64, U64]]:
        """Raises InvalidInput for a sign that comes twice."""
        if not self._ends:
            return {}
        signs, ends = (np.concatenate(column) for column in zip(*self._ends, strict=True))
        check_each_once(np.sort(signs), "the times to live")
        files = farmhash64(signs) % np.uint64(self._files)
        order = np.argsort(files, kind="stable")
        numbers, starts = np.unique(files[order], return_index=True)
        parts = np.split(order, starts[1:])
        return {int(number): (signs[part], ends[part]) for number, part in zip(numbers, parts, strict=False)}

    def _write_file(self, file: int, ends: tuple[U64, U64] | None) -> None:
        index, shard = divmod(file, self._marker.num_shards)
        path = emb_file(shard_directory(self._directory, shard), shard, index)
        blocks = [block for age in range(self._ages) for block in self._buckets.blocks(file * self._ages + age)]
        signs = np.sort(np.concatenate([signs for signs, _ in blocks])) if blocks else np.empty(0, np.uint64)
        check_each_once(signs, path)
        if ends is not None:
            # Before the rows: a server that sees these alone, in a dump that did not finish, does not see a checkpoint.
            _check_have_rows(ends[0], signs, path)
            write_sign_file(path.with_suffix(ENDS), ends[0], self._marker.seconds, ends[1])
            self._target.written(path.with_suffix(ENDS))
        write_emb(path, blocks)
        self._target.written(path)


def _check_have_rows(signs: U64, of_rows: U64, path: Path) -> None:
    missing = signs[~np.isin(signs, of_rows)]
    if len(missing):
        raise InvalidInput(f"expected a row for each time to live, got none for sign {missing[0]}, for {path}")


def check_each_once(signs: U64, path: Path | str) -> None:
    """REQUIRES: signs (n) in ascending order. Raises DuplicateSign."""
    twice = signs[1:][signs[1:] == signs[:-1]]
    if len(twice):
        # Which of its rows would count is up to the order in which a reader happens to load the files' rows.
        raise DuplicateSign(int(twice[0]), str(path))


def _nanoseconds(moment: DateTime) -> int:
    nanoseconds = int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
    if nanoseconds < 0:
        raise InvalidInput(f"expected a datetime from 1970 on, got {moment}")
    return nanoseconds
