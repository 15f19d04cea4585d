"""Loading a sparse checkpoint: any number of its shards into this one, whole or not at all."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Semaphore

from persia import _core
from persia.cli.progress import progress_bar
from persia.errors import CorruptFile
from persia.formats.checkpoint import Checkpoint

from .non_finite import NonFiniteTally

__all__ = ["Estimate", "estimate", "load_checkpoint"]

log = logging.getLogger(__name__)

# Of a checkpoint in a store: half of the files that are at hand come, while the table takes the others.
_FILES_PER_WORKER = 2


@dataclass(frozen=True)
class Estimate:
    """What loading will need, judged by the first rows of each file."""

    rows: int
    bytes: int


def estimate(checkpoint: Checkpoint, storage: str, shard_index: int, shard_count: int) -> Estimate:
    """Reads the beginnings of the files; of those in a store one file, which stands for all. Raises CorruptFile, OSError."""
    sizes = {path: path.stat().st_size for path in checkpoint.files}
    judged = list(sizes)
    if checkpoint.tree is not None:
        judged = sorted(sizes, key=lambda path: sizes[path])[len(sizes) // 2 :][:1]
    rows = size = 0
    for path in judged:
        with checkpoint.at_hand(path) as here:
            reader = _core.EmbReader(here)
            share, dim = reader.sample(shard_index, shard_count)
        of_file = round(reader.rows * share)
        rows += of_file
        size += round(of_file * _core.bytes_per_row(storage, dim))
    scale = sum(sizes.values()) / max(1, sum(sizes[path] for path in judged))
    return Estimate(round(rows * scale), round(size * scale))


def load_checkpoint(
    checkpoint: Checkpoint,
    builder: _core.TableBuilder,
    shard_index: int,
    shard_count: int,
    workers: int,
    non_finite: NonFiniteTally | None = None,
) -> int:
    """Loads the files, `workers` at a time; as many more are fetched meanwhile if they are in a store.

    Returns how many rows belong here. An error spoils the builder.

    Raises CorruptFile also for a checkpoint that was written anew meanwhile: its files may be of two.
    """
    tally = non_finite or NonFiniteTally()
    kept, threads = 0, workers
    turns: Semaphore | nullcontext[None] = nullcontext()
    if checkpoint.tree is not None:
        threads, turns = _FILES_PER_WORKER * workers, Semaphore(workers)

    def load(path: Path) -> int:
        found = tally.finder()
        with checkpoint.at_hand(path) as here, turns:
            rows = builder.load_emb(here, shard_index, shard_count, found)
        tally.note(path, found)
        return rows

    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        futures = [pool.submit(load, path) for path in checkpoint.files]
        try:
            for future in reported(futures, builder):
                kept += future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            ended = [future.exception() for future in futures if not future.cancelled()]
            # What another thread met afterwards is a builder that the corrupt file had spoiled.
            if corrupt := next((error for error in ended if isinstance(error, CorruptFile)), None):
                raise corrupt from None
            raise
    if not checkpoint.is_still(shard_index, shard_count):
        raise CorruptFile(str(checkpoint), "a checkpoint that stays as it is", "one that changed while it was loaded", 0)
    return kept


def reported(futures: list[Future[int]], builder: _core.TableBuilder) -> Iterator[Future[int]]:
    """The futures in the order in which they end: under a progress bar on a terminal, else with a line in the log each."""
    if sys.stderr.isatty():
        with progress_bar(len(futures), "loading") as advance:
            for future in as_completed(futures):
                yield future
                advance(1)
        return
    for done, future in enumerate(as_completed(futures), 1):
        yield future
        beyond = f", {builder.evicted} were over the capacity" if builder.evicted else ""
        log.info("loaded %d of %d files: the table holds %d rows%s", done, len(futures), builder.rows, beyond)
