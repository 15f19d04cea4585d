"""The checkpoint that packets go over: the one that a server is set up with, or one that the record of an epoch names."""

from __future__ import annotations

from dataclasses import dataclass, field

from persia.checkpoint_id import checkpoint_text
from persia.errors import CorruptFile
from persia.formats.bounds import Bounds
from persia.formats.checkpoint import Checkpoint, open_checkpoint_at
from persia.formats.epoch import CommittedCheckpoint
from persia.formats.epoch_history import EpochHistory
from persia.formats.epoch_log import EpochLog
from persia.formats.identity import identify
from persia.formats.record_files import StoredRecords

from .options import ShardOptions

__all__ = ["Base", "bases_to_start_from", "epoch_log_of", "expect_unchanged", "open_base"]


@dataclass(frozen=True)
class Base:
    """`identity`: 0 for a table that was loaded from none. `named`: by a record; None: the server is set up with it.

    Two bases are equal if a table that goes over the one goes over the other.
    """

    identity: int = 0
    bounds: Bounds = field(default_factory=Bounds)  # which packets it has
    seconds: int = field(default=0, compare=False)  # when training wrote it
    named: CommittedCheckpoint | None = field(default=None, compare=False)
    checkpoint: Checkpoint | None = field(default=None, compare=False)  # None also for one that was not opened

    @classmethod
    def of(cls, named: CommittedCheckpoint) -> Base:
        """As the record has it. No disk is looked at."""
        return cls(named.identity, named.has, named.unix_seconds, named)

    def __str__(self) -> str:
        return f"checkpoint {checkpoint_text(self.identity, self.seconds)}"

    @property
    def place(self) -> str:
        """For people. Empty: there is none."""
        if self.checkpoint is not None:
            return str(self.checkpoint)
        return "" if self.named is None else self.named.checkpoint


def epoch_log_of(options: ShardOptions) -> EpochLog:
    """The log beside the packets, of which nothing is read as yet. REQUIRES: the server follows packets."""
    root = options.incremental_dir
    assert root is not None
    if options.packets is None:
        return EpochLog(root)
    return EpochLog(root, records=StoredRecords(options.packets.open(options.requests)))


def bases_to_start_from(history: EpochHistory) -> list[CommittedCheckpoint | None]:
    """The newest epoch's first, then those of earlier ones: whoever cannot load one begins with an epoch before it."""
    found: list[CommittedCheckpoint | None] = []
    for named in [*(base for _epoch, base in reversed(history.bases)), None]:
        if named not in found:
            found.append(named)
    return found


def open_base(named: CommittedCheckpoint | None, options: ShardOptions) -> Base:
    """Looks at markers, names and both ends of the files; no row is read.

    Raises CorruptFile, also for a checkpoint that is not the one that the record names; OSError.
    """
    if named is None:
        if options.checkpoint is None:
            return Base()
        checkpoint = open_checkpoint_at(options.checkpoint, options.buffer, options.requests, *options.place, options.workers)
        return Base(identify(checkpoint, options.workers), checkpoint.bounds, checkpoint.marker.seconds, None, checkpoint)
    assert options.incremental_dir is not None
    place = named.place(options.incremental_dir)
    checkpoint = open_checkpoint_at(place, options.buffer, options.requests, *options.place, options.workers)
    identity = identify(checkpoint, options.workers)
    if identity != named.identity:
        expected = f"checkpoint {checkpoint_text(named.identity, named.unix_seconds)}, which the epoch's record names"
        raise CorruptFile(str(checkpoint), expected, checkpoint_text(identity, checkpoint.marker.seconds), 0)
    return Base(identity, named.has, named.unix_seconds, named, checkpoint)


def expect_unchanged(base: Base, options: ShardOptions) -> None:
    """Raises CorruptFile if the checkpoint was written anew since it was opened; OSError."""
    checkpoint = base.checkpoint
    if checkpoint is None:
        return
    is_same = checkpoint.is_still(*options.place)
    # Of a checkpoint in a store, all has been compared that the store says.
    if not is_same or (checkpoint.tree is None and identify(checkpoint, options.workers) != base.identity):
        raise CorruptFile(str(checkpoint), "a checkpoint that stays as it is", "one that changed while it was read", 0)
