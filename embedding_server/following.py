"""What goes on from a loaded table: rows end when their time is over, and packets are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from persia import _core
from persia.formats.bounds import Bounds
from persia.formats.checkpoint import Checkpoint, open_checkpoint_at
from persia.formats.epoch_history import EpochHistory
from persia.formats.epoch_log import EpochLog
from persia.formats.record_files import RecordFiles, StoredRecords
from persia.formats.sign_files import read_sign_file

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
    bounds: Bounds,
    journal: Journal,
    expiring: Expiring,
    non_finite: NonFiniteTally,
    checkpoint: Checkpoint | None,
    on_readable: Callable[[EpochHistory], None],
) -> UpdateThread:
    """Not started. bounds: which packets the table's checkpoint has; on_readable: as for an EpochUpdater."""
    root = options.incremental_dir
    assert root is not None
    pruner = _make_pruner(root, options)
    finder, records = Finder(root), RecordFiles(root)
    if options.packets is not None:
        store = options.packets.open(options.requests)
        finder = MirroredFinder(Mirror(store, root, bounds, options.workers), root)
        records = StoredRecords(store)
    follower: Follower
    if options.epochs:
        builder = EpochBuilder(table, options.storage, options.place, root, bounds, expiring, non_finite, checkpoint)
        follower = EpochUpdater(builder, EpochLog(root, records=records), finder, journal, bounds, pruner, on_readable)
    else:
        applier = Applier(table, options.storage, options.place, expiring, non_finite)
        follower = Updater(applier, finder, journal, bounds, pruner)
    if options.packets is not None:
        return UpdateThread(follower, root, options.packet_poll_seconds, watch=False)
    return UpdateThread(follower, root)


def _make_pruner(root: Path, options: ShardOptions) -> Pruner | None:
    if not options.prune:
        return None
    checkpoint = options.checkpoint

    def bounds_on_disk() -> Bounds:
        assert checkpoint is not None
        return open_checkpoint_at(checkpoint, options.buffer, options.requests, *options.place).bounds

    return Pruner(root, options.count, options.prune, bounds_on_disk if checkpoint is not None else None)
