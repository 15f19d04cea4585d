"""What goes on from a loaded table: rows end when their time is over, and packets are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from persia import _core
from persia.formats.bounds import Bounds
from persia.formats.checkpoint import open_checkpoint_at
from persia.formats.epoch_history import EpochHistory
from persia.formats.epoch_log import EpochLog
from persia.formats.sign_files import read_sign_file

from .base import Base, epoch_log_of
from .expiry import Expiring
from .non_finite import NonFiniteTally
from .options import ShardOptions
from .updates.applier import Applier
from .updates.epoch_builder import EpochBuilder
from .updates.epoch_updater import EpochUpdater
from .updates.finder import Finder
from .updates.follower import Follower
from .updates.journal import Journal
from .updates.mirror import Mirror
from .updates.mirrored_finder import MirroredFinder
from .updates.pruning import Pruner
from .updates.thread import UpdateThread
from .updates.updater import Updater

__all__ = ["make_expiring", "make_updates"]


def make_expiring(table: _core.Table, options: ShardOptions, ends: Iterable[Path]) -> Expiring:
    """Knows when rows of the checkpoint end, by its files of ends. Raises CorruptFile, OSError, MemoryError, TooLarge."""
    expiring = Expiring(table, options.storage)
    for path in ends:
        file = read_sign_file(path)
        assert file.ends is not None
        expiring.set(file.signs, file.ends, options.place)
    return expiring


def make_updates(
    table: _core.Table,
    options: ShardOptions,
    base: Base,
    journal: Journal,
    expiring: Expiring,
    non_finite: NonFiniteTally,
    on_base: Callable[[int, Base], None],
    on_readable: Callable[[EpochHistory], None],
) -> UpdateThread:
    """Not started. base: what the table was loaded from. on_base: as for an EpochBuilder; on_readable: an EpochUpdater."""
    root = options.incremental_dir
    assert root is not None
    epoch_log, finder = epoch_log_of(options), Finder(root)
    if options.packets is not None:
        store = options.packets.open(options.requests)
        finder = MirroredFinder(Mirror(store, root, base.bounds, options.packet_list_all_seconds, options.workers), root)
    pruner = _make_pruner(root, options, epoch_log)
    follower: Follower
    if options.epochs:
        builder = EpochBuilder(table, options, base, expiring, non_finite, on_base)
        follower = EpochUpdater(builder, epoch_log, finder, journal, base.bounds, pruner, on_readable)
    else:
        applier = Applier(table, options.storage, options.place, expiring, non_finite)
        follower = Updater(applier, finder, journal, base.bounds, pruner)
    if options.packets is not None:
        return UpdateThread(follower, root, options.packet_poll_seconds, watch=False)
    return UpdateThread(follower, root)


def _make_pruner(root: Path, options: ShardOptions, epoch_log: EpochLog) -> Pruner | None:
    """epoch_log: what the follower has read of it; without epochs, nothing."""
    if not options.prune:
        return None
    checkpoint = options.checkpoint

    def bounds_at_a_start() -> Bounds:
        named = epoch_log.history.base_at(epoch_log.newest)
        if named is not None:
            return named.has
        if checkpoint is None:
            return Bounds()
        return open_checkpoint_at(checkpoint, options.buffer, options.requests, *options.place).bounds

    return Pruner(root, options.count, options.prune, bounds_at_a_start if checkpoint is not None or options.epochs else None)
