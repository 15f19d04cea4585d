"""Up to which second a checkpoint has what each training shard's packets say.

A packet tells whole seconds, and is in the checkpoint for certain only if its second was over when the dump of its training
shard began to read rows. A packet that may not be in it is applied: packets go in their order, so each row ends at its newest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .layout import CHECKPOINT_MARKER, training_shard_of
from .marker import Marker

__all__ = ["Bounds", "bound_of_shard"]

# The times of files are those of the dump only if the marker's file is as old as the marker says: copies are not.
TRUSTED_NS = 2_000_000_000


@dataclass(frozen=True)
class Bounds:
    """Unix seconds: `by_shard` of the training shards 0, 1, ... of a checkpoint, `earliest` of all others.

    Without a checkpoint all is 0: no packet is in it.
    """

    earliest: int = 0
    by_shard: tuple[int, ...] = ()

    @classmethod
    def of(cls, by_shard: list[int]) -> Bounds:
        return cls(min(by_shard, default=0), tuple(by_shard))

    def has(self, shard: int, seconds: int) -> bool:
        """Whether a packet of that training shard and second is in the checkpoint for certain."""
        # A trainer that had another number of shards is not the one that dumped: its packets may come from before any dump.
        return seconds < (self.by_shard[shard] if shard < len(self.by_shard) else self.earliest)

    def has_packet(self, name: str, seconds: int) -> bool:
        """has(), of a packet that is named as in journals: `s0/inc_20261120070757`."""
        return self.has(training_shard_of(name), seconds)


def bound_of_shard(directory: Path, marker: Marker, files: list[Path]) -> int:
    """The bound of one training shard by its marker, which is written last, and by the ages of its files, which are older.

    Raises OSError.
    """
    written_ns = (directory / CHECKPOINT_MARKER).stat().st_mtime_ns
    ages = [path.stat().st_mtime_ns for path in files]
    told_ns = marker.seconds * 1_000_000_000 + marker.nanos
    if abs(written_ns - told_ns) > TRUSTED_NS or max(ages, default=0) > written_ns:
        return marker.seconds
    return min([marker.seconds, *(age // 1_000_000_000 for age in ages)])
