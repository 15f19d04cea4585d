"""What a chain of commit records says of variants: which there are in an epoch, and which packets of their own they have."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from typing import NamedTuple

from persia.variant import Variant, VariantsChange

from .epoch import CommittedPacket, EpochRecord, VariantChange

__all__ = ["Packets", "VariantHistory", "VariantPackets"]

# Of an epoch or of a variant, by their names.
Packets = dict[str, CommittedPacket]


class VariantPackets(NamedTuple):
    """What a variant has of its own in an epoch, which began with `begun`."""

    begun: int
    packets: Packets


class VariantHistory:
    """For one thread. A return to an earlier epoch leaves variants as they are."""

    def __init__(self) -> None:
        self.changes: list[VariantsChange] = []  # in the order of epochs
        self._added: dict[tuple[str, int], list[tuple[int, tuple[CommittedPacket, ...]]]] = {}  # by name and first epoch
        self._named: dict[str, set[str]] = {}  # packets, by the name of the variant

    def append(self, record: EpochRecord) -> None:
        """REQUIRES: it is that of the epoch after the newest one."""
        if not record.variants:
            return
        now = dict(self.changes[-1][1]) if self.changes else {}
        for name, change in record.variants.items():
            if change is None:
                now.pop(name, None)
                continue
            now[name] = _changed(now.get(name, Variant(record.epoch, {})), change)
            if change.add:
                self._added.setdefault((name, now[name].begun), []).append((record.epoch, change.add))
                self._named.setdefault(name, set()).update(packet.packet for packet in change.add)
        if not self.changes or now != self.changes[-1][1]:
            self.changes.append((record.epoch, now))

    def at(self, epoch: int) -> Mapping[str, Variant]:
        """The variants of an epoch, by their names."""
        changes = bisect(self.changes, epoch, key=lambda change: change[0])
        return self.changes[changes - 1][1] if changes else {}

    def packets_at(self, epoch: int) -> dict[str, VariantPackets]:
        """What the variants of an epoch have of their own, by their names."""
        there = self.at(epoch)
        return {name: VariantPackets(one.begun, self._packets(name, one.begun, epoch)) for name, one in there.items()}

    def was_named(self, name: str, packet: str) -> bool:
        """Whether a record has ever added the packet to a variant of that name, also to one that has ended."""
        return packet in self._named.get(name, ())

    def dense_with(self, name: str, changes: Mapping[str, str | None]) -> dict[str, str]:
        """The own versions of dense models of a variant in the newest epoch, with other ones for some models; None: none."""
        there = self.changes[-1][1] if self.changes else {}
        changed = {**(there[name].dense if name in there else {}), **changes}
        return {model: version for model, version in changed.items() if version is not None}

    def _packets(self, name: str, begun: int, epoch: int) -> Packets:
        added = self._added.get((name, begun), [])
        return {packet.packet: packet for since, packets in added if since <= epoch for packet in packets}


def _changed(variant: Variant, change: VariantChange) -> Variant:
    return variant if change.dense is None else variant._replace(dense=change.dense)
