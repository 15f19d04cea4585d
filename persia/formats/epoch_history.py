"""What a chain of commit records says: which packets make an epoch. It reads no disk, so every server comes to the same."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Set

from persia.dense_version import DenseChange

from .epoch import CommittedCheckpoint, CommittedPacket, EpochRecord
from .variant_history import Packets, VariantHistory

__all__ = ["EpochHistory", "Packets"]

# What becomes of some packets; None: they are not there.
_Changes = dict[str, CommittedPacket | None]


class EpochHistory:
    """Records as they come, and what the newest of them makes. For one thread.

    Earlier epochs are the newest one with what came since taken back, so those shortly before it cost little.
    """

    def __init__(self) -> None:
        self.records: list[EpochRecord] = []
        self.packets: Packets = {}  # of the newest epoch
        self.held = False  # whether packets wait to be committed by somebody who knows what belongs together
        self.dense_changes: list[DenseChange] = []  # in the order of epochs
        self.bases: list[tuple[int, CommittedCheckpoint | None]] = []  # from which epoch on there is which one, in their order
        self.variants = VariantHistory()
        self._taken_back: list[_Changes] = []  # for each record: makes of its epoch the one before
        self._void: set[str] = set()
        self._named: dict[str, set[str]] = {}  # packets, and those of their files, of which any record has said anything

    @property
    def newest(self) -> int:
        """The newest epoch; 0: there is none yet."""
        return len(self.records)

    def append(self, record: EpochRecord) -> None:
        """REQUIRES: it is that of the epoch after the newest one."""
        assert record.epoch == self.newest + 1
        changes = self._changes(record)
        self._taken_back.append({name: self.packets.get(name) for name in changes})
        _apply(changes, self.packets)
        self._follow_dense(record)
        self._follow_base(record)
        self.variants.append(record)
        self.records.append(record)
        self.held = self.held if record.hold is None else record.hold
        for added in record.add:
            self._void.discard(added.packet)
            self._named.setdefault(added.packet, set()).update(file.name for file in added.files)
        for name in record.void:
            self._void.add(name)
            self._named.setdefault(name, set())

    def packets_at(self, epoch: int) -> Packets:
        """The packets of an epoch up to the newest one. Those of epoch 0 are none."""
        packets = dict(self.packets)
        for changes in reversed(self._taken_back[epoch:]):
            _apply(changes, packets)
        return packets

    def base_at(self, epoch: int) -> CommittedCheckpoint | None:
        """The checkpoint under the packets of an epoch; None: no record names it, and servers take the one of their config."""
        changes = bisect(self.bases, epoch, key=lambda change: change[0])
        return self.bases[changes - 1][1] if changes else None

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

    def _follow_base(self, record: EpochRecord) -> None:
        now = self.base_at(self.newest)
        named = now if record.revert_to is None else self.base_at(record.revert_to)
        named = record.base or named
        if named != now:
            self.bases.append((record.epoch, named))

    def _changes(self, record: EpochRecord) -> _Changes:
        """A packet that a record voids does not come back with a return to an earlier epoch, only when it is added again."""
        changes: _Changes = {}
        if record.revert_to is not None:
            before = self.packets_at(record.revert_to)
            changes |= dict.fromkeys(self.packets.keys() - before.keys())
            changes |= {name: packet for name, packet in before.items() if self._comes_back(name, packet)}
        changes |= {added.packet: added for added in record.add}
        changes |= dict.fromkeys(record.void)
        return changes

    def _comes_back(self, name: str, packet: CommittedPacket) -> bool:
        return name not in self._void and self.packets.get(name) is not packet


def _apply(changes: _Changes, packets: Packets) -> None:
    for name, packet in changes.items():
        if packet is None:
            packets.pop(name, None)
        else:
            packets[name] = packet
