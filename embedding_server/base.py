"""The checkpoint that packets go over: the one that a server is set up with, or one that the record of an epoch names."""

from __future__ import annotations

from dataclasses import dataclass, field

from persia.checkpoint_id import checkpoint_text
from persia.errors import CorruptFile
from persia.formats.bounds import Bounds
from persia.formats.checkpoint import Checkpoint, open_checkpoint
from persia.formats.epoch import CommittedCheckpoint
from persia.formats.epoch_history import EpochHistory
from persia.formats.identity import identify

from .options import ShardOptions

__all__ = ["Base", "bases_to_start_from", "expect_unchanged", "open_base"]


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
    def directory(self) -> str:
        """Empty: there is none."""
        if self.checkpoint is not None:
            return str(self.checkpoint.directory)
        return "" if self.named is None else self.named.checkpoint


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
        checkpoint = open_checkpoint(options.checkpoint, *options.place)
        return Base(identify(checkpoint, options.workers), checkpoint.bounds, checkpoint.marker.seconds, None, checkpoint)
    assert options.incremental_dir is not None
    directory = named.directory(options.incremental_dir)
    checkpoint = open_checkpoint(directory, *options.place)
    identity = identify(checkpoint, options.workers)
    if identity != named.identity:
        expected = f"checkpoint {checkpoint_text(named.identity, named.unix_seconds)}, which the epoch's record names"
        raise CorruptFile(str(directory), expected, checkpoint_text(identity, checkpoint.marker.seconds), 0)
    return Base(identity, named.has, named.unix_seconds, named, checkpoint)


def expect_unchanged(base: Base, options: ShardOptions) -> None:
    """Raises CorruptFile if the checkpoint was written anew since it was opened; OSError."""
    checkpoint = base.checkpoint
    if checkpoint is None:
        return
    now = open_checkpoint(checkpoint.directory, *options.place)
    if now != checkpoint or identify(now, options.workers) != base.identity:
        raise CorruptFile(
            str(checkpoint.directory), "a checkpoint that stays as it is", "one that changed while it was read", 0
        )
