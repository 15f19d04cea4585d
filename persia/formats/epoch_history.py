"""What a chain of commit records says: which packets make an epoch. It reads no disk, so every server comes to the same."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence, Set
from itertools import islice

from persia.dense_version import DenseChange

from .epoch import CommittedPacket, EpochRecord

__all__ = ["EpochHistory", "Packets", "packets_at"]

# Of an epoch, by their names.
Packets = dict[str, CommittedPacket]


def packets_at(records: Sequence[EpochRecord], epoch: int) -> Packets:
    """The packets of an epoch, by the records of epochs 1, 2, ... Those of epoch 0 are none.

    A packet that a record voids does not come back with a return to an earlier epoch, but only when it is added again.
    """
    packets: Packets = {}
    void: set[str] = set()
    for record in islice(records, epoch):
        follow(packets, void, record, records)
    return packets


def follow(packets: Packets, void: set[str], record: EpochRecord, records: Sequence[EpochRecord]) -> None:
    """Makes the packets, and the names that are void, of one epoch those of the next one."""
    if record.revert_to is not None:
        before = packets_at(records, record.revert_to)
        packets.clear()
        packets.update((name, packet) for name, packet in before.items() if name not in void)
    for added in record.add:
        packets[added.packet] = added
        void.discard(added.packet)
    for name in record.void:
        packets.pop(name, None)
        void.add(name)


class EpochHistory:
    """Records as they come, and what the newest of them makes. For one thread."""

    def __init__(self) -> None:
        self.records: list[EpochRecord] = []
        self.packets: Packets = {}  # of the newest epoch
        self.held = False  # whether packets wait to be committed by somebody who knows what belongs together
        self.dense_changes: list[DenseChange] = []  # in the order of epochs
        self._void: set[str] = set()
        self._named: dict[str, set[str]] = {}  # packets, and those of their files, of which any record has said anything

    @property
    def newest(self) -> int:
        """The newest epoch; 0: there is none yet."""
        return len(self.records)

    def append(self, record: EpochRecord) -> None:
        """REQUIRES: it is that of the epoch after the newest one."""
        assert record.epoch == self.newest + 1
        follow(self.packets, self._void, record, self.records)
        self._follow_dense(record)
        self.records.append(record)
        self.held = self.held if record.hold is None else record.hold
        for added in record.add:
            self._named.setdefault(added.packet, set()).update(file.name for file in added.files)
        for name in record.void:
            self._named.setdefault(name, set())

    def packets_at(self, epoch: int) -> Packets:
        """The packets of an epoch up to the newest one."""
        return dict(self.packets) if epoch == self.newest else packets_at(self.records, epoch)

    def dense_at(self, epoch: int) -> Mapping[str, str]:
        """The versions of dense models that belong to an epoch, by their names; any version of others does."""
        changes = bisect(self.dense_changes, epoch, key=lambda change: change[0])
        return self.dense_changes[changes - 1][1] if changes else {}

    def dense_with(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """The versions of dense models in the newest epoch, with other ones for some models; None: any."""
        changed = {**self.dense_at(self.newest), **changes}
        return {model: version for model, version in changed.items() if version is not None}

    def is_named(self, name: str) -> bool:
        """Whether any record has said anything of a packet."""
        return name in self._named

    def is_open(self, name: str, files: Set[str]) -> bool:
        """Whether a packet with these files is to be committed: no record has named it, or there are files that none has named.

        What was voided, or left behind by a return, is not committed by itself.
        """
        if not self.is_named(name):
            return True
        return name in self.packets and files > self._named[name]

    def _follow_dense(self, record: EpochRecord) -> None:
        now = self.dense_at(self.newest)
        named: Mapping[str, str] | None = record.dense
        if named is None and record.revert_to is not None:
            named = self.dense_at(record.revert_to)
        if named is not None and named != now:
            self.dense_changes.append((record.epoch, named))
