"""The table of a server that starts: of which checkpoint it is, and how it comes into memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress

from persia import _core
from persia.errors import CorruptFile, PersiaError
from persia.formats.checkpoint import Checkpoint
from persia.formats.epoch_history import EpochHistory

from .base import Base, bases_to_start_from, epoch_log_of, expect_unchanged, open_base
from .loading import estimate, load_checkpoint
from .non_finite import NonFiniteTally
from .options import ShardOptions

__all__ = ["load_table"]

log = logging.getLogger(__name__)


def load_table(
    options: ShardOptions, non_finite: NonFiniteTally, say: Callable[[str], None] = lambda state: None
) -> tuple[_core.Table, Base]:
    """From the newest checkpoint that records of epochs name, or else from the one that the server is set up with.

    A named one that cannot be loaded keeps nobody from serving the epochs before it. say: called with what is done, in words.
    Raises CorruptFile, OSError.
    """
    *named, last = bases_to_start_from(_read_history(options))
    for one in named:
        try:
            return _load(open_base(one, options), options, non_finite, say)
        except (PersiaError, OSError) as error:
            log.error("the checkpoint that the newest epochs are based on cannot be loaded, an earlier one is: %s", error)
    return _load(open_base(last, options), options, non_finite, say)


def _read_history(options: ShardOptions) -> EpochHistory:
    if not options.epochs or options.incremental_dir is None:
        return EpochHistory()
    epoch_log = epoch_log_of(options)
    with suppress(CorruptFile, OSError):  # is said when the updater meets it
        epoch_log.read()
    return epoch_log.history


def _load(
    base: Base, options: ShardOptions, non_finite: NonFiniteTally, say: Callable[[str], None]
) -> tuple[_core.Table, Base]:
    began = time.monotonic()
    builder = _core.TableBuilder(options.storage, options.capacity, options.retained_epochs, options.retained_share)
    checkpoint = base.checkpoint
    if checkpoint is None:
        return _core.Table(builder), base
    say(f"loading {checkpoint}")
    _make_room(checkpoint, builder, options)
    belong = load_checkpoint(checkpoint, builder, *options.place, options.workers, non_finite)
    expect_unchanged(base, options)
    if builder.evicted:
        log.warning("%d rows over the capacity of %d were left out", builder.evicted, options.capacity)
    log.info("the table holds %d of the %d rows that this shard has in %s", builder.rows, belong, base)
    log.info("loading took %.1f s", time.monotonic() - began)
    return _core.Table(builder), base


def _make_room(checkpoint: Checkpoint, builder: _core.TableBuilder, options: ShardOptions) -> None:
    need = estimate(checkpoint, options.storage, *options.place)
    kept = min(need.rows, options.capacity or need.rows)
    log.info(
        "loading %d files of %s: about %d rows for this shard, about %.1f GiB%s",
        len(checkpoint.files),
        checkpoint,
        kept,
        need.bytes * kept / max(need.rows, 1) / 2**30,
        f"; about {need.rows - kept} rows are over the capacity" if kept < need.rows else "",
    )
    # A little less than the guess: what is missing grows by itself, what is too much would stay.
    builder.reserve(round(kept * 0.98))
