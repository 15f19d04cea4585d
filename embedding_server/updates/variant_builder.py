"""The rows that variants have of their own, for the table: of each variant one layer with the packets that come to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from persia import _core
from persia.formats.epoch import CommittedPacket
from persia.formats.layout import VARIANTS, variant_directory
from persia.formats.variant_history import VariantPackets
from persia.variant import variant_key

from ..non_finite import NonFiniteTally
from .applier import Loaded, load_into, signs_of_packet
from .committed_packets import expect_as_committed, is_part, packet_below, stalling, steps

__all__ = ["VariantBuilder", "VariantLayers", "name_in_epoch"]


@dataclass(frozen=True)
class VariantLayers:
    """What becomes of all variants in an epoch, until the table has it."""

    variants: Mapping[str, VariantPackets]
    updates: list[tuple[int, _core.Layer, bool]] = field(default_factory=list)  # as Table.begin_epoch takes them
    loaded: list[Loaded] = field(default_factory=list)
    added: list[CommittedPacket] = field(default_factory=list)


def name_in_epoch(variant: str, packet: str) -> str:
    """By which messages tell a packet of a variant from others."""
    return f"{VARIANTS}/{variant}/{packet}"


class VariantBuilder:
    """For one thread.

    A variant only grows while it lasts: packets come to it, and go only when it ends. So a new epoch goes on from what the
    table has of it in the current one.
    """

    def __init__(self, storage: str, shard: tuple[int, int], root: Path, non_finite: NonFiniteTally) -> None:
        """As an EpochBuilder."""
        self._storage, self._shard, self._root, self._non_finite = storage, shard, root, non_finite
        self._there: Mapping[str, VariantPackets] = {}

    def load(self, epoch: int, variants: Mapping[str, VariantPackets]) -> VariantLayers:
        """Reads what the table has not. Raises StalledError."""
        layers = VariantLayers(variants)
        for name, variant in variants.items():
            there = self._there.get(name)
            goes_on = there is not None and there.begun == variant.begun and is_part(there.packets, variant.packets)
            before = there.packets if there is not None and goes_on else {}
            added = [packet for packet in variant.packets.values() if before.get(packet.packet) != packet]
            layer = _core.Layer(self._storage)
            for packet, is_there in steps(added, before.values()):
                self._load(epoch, name, packet, is_there, layers, layer)
            layers.updates.append((variant_key(name), layer, not goes_on))
            layers.added.extend(added)
        return layers

    def took(self, layers: VariantLayers) -> None:
        """The table has them now."""
        self._there = layers.variants

    def _load(
        self, epoch: int, name: str, committed: CommittedPacket, is_there: bool, layers: VariantLayers, layer: _core.Layer
    ) -> None:
        packet = packet_below(variant_directory(self._root, name), committed)
        with stalling(epoch, name_in_epoch(name, committed.packet)):
            if is_there:
                for signs in signs_of_packet(packet):
                    layer.forget(signs)
                return
            loaded = load_into(layer, packet, self._shard, refuse_non_finite=self._non_finite.refuse)
            expect_as_committed(committed, packet, loaded)
        layers.loaded.append(loaded)
