"""An epoch into the table: its packets in one layer, over that epoch in memory from which the least is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.formats.bounds import Bounds
from persia.formats.checkpoint import Checkpoint
from persia.formats.epoch import CommittedPacket
from persia.formats.epoch_history import Packets
from persia.formats.variant_history import VariantPackets
from persia.signs import shard_of

from ..expiry import Expiring
from ..non_finite import NonFiniteTally
from .applier import Loaded, load_into, signs_of_packet
from .committed_packets import StalledError, expect_as_committed, is_part, packet_below, stalling, steps
from .epoch_return import put_again, put_from_checkpoint
from .variant_builder import VariantBuilder

__all__ = ["EpochBuilder", "Published"]


@dataclass(frozen=True)
class Published:
    """An epoch that lookups are answered from.

    `packets`: those that came with it, also to variants, without those that the checkpoint has.
    """

    epoch: int
    packets: list[CommittedPacket]
    changes: int  # rows and deletions
    version: int  # of the table


@dataclass(frozen=True)
class _Built:
    epoch: int
    packets: Packets


class EpochBuilder:
    """For one thread."""

    def __init__(
        self,
        table: _core.Table,
        storage: str,
        shard: tuple[int, int],
        root: Path,
        bounds: Bounds,
        expiring: Expiring,
        non_finite: NonFiniteTally,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """shard: index and count. root: the directory of packets. bounds: which packets the table's checkpoint has.

        checkpoint: the table's, for epochs that take away what is not in memory as it was before; None: the table has none.
        """
        self._table, self._storage, self._shard, self._root, self._bounds = table, storage, shard, root, bounds
        self._expiring, self._non_finite, self._checkpoint = expiring, non_finite, checkpoint
        self._variants = VariantBuilder(storage, shard, root, non_finite)
        self.version = 0  # of the table, when the current epoch began
        self._built = [_Built(0, {})]  # the epochs that the table may still hold, the current one last

    @property
    def epoch(self) -> int:
        """The current one."""
        return self._built[-1].epoch

    @property
    def packets(self) -> Packets:
        """Those of the current epoch."""
        return self._built[-1].packets

    def build(self, epoch: int, packets: Packets, variants: Mapping[str, VariantPackets] | None = None) -> Published:
        """Publishes the epoch, which has these packets and variants.

        Raises StalledError: then the table is as it was.
        """
        layer = _core.Layer(self._storage)
        nearest = self._nearest(packets)
        onto = nearest or self._built[-1]
        added = [packet for packet in packets.values() if onto.packets.get(packet.packet) != packet]
        if nearest is None:
            loaded = self._load_back(epoch, packets, {packet.packet for packet in added}, layer)
        else:
            loaded = [self._load(step, layer, epoch) for step in steps(self._new(added), self._new(onto.packets.values()))]
        size = layer.size
        own = self._variants.load(epoch, variants or {})
        self.version = self._expiring.begin_epoch(layer, epoch, onto.epoch, own.updates)
        self._variants.took(own)
        for one in [*loaded, *own.loaded]:
            for path, found in one.non_finite if one is not None else ():
                self._non_finite.note(path, found)
        self._built.append(_Built(epoch, packets))
        self._forget_what_the_table_has_not()
        return Published(epoch, [*self._new(added), *own.added], size, self.version)

    def is_old(self, packet: CommittedPacket) -> bool:
        """Whether the table's checkpoint has it."""
        return self._bounds.has(packet.shard, packet.unix_seconds)

    def _new(self, packets: Iterable[CommittedPacket]) -> list[CommittedPacket]:
        """Without those that the checkpoint has."""
        return [packet for packet in packets if not self.is_old(packet)]

    def _nearest(self, packets: Packets) -> _Built | None:
        """The newest epoch in the table that has no packet which these have not.

        The table keeps the rows of earlier epochs, but not when they were to end.
        """
        there = self._built[-1:] if self._expiring.has_had_ends else self._built
        return next((built for built in reversed(there) if is_part(built.packets, packets)), None)

    def _forget_what_the_table_has_not(self) -> None:
        low = self._table.status().epoch_low
        self._built = [built for built in self._built if built.epoch >= low]

    def _load(self, step: tuple[CommittedPacket, bool], layer: _core.Layer, epoch: int) -> Loaded | None:
        """What a packet says goes over what older ones have said; of one in the table, the older ones say nothing."""
        committed, is_there = step
        packet = packet_below(self._root, committed)
        with stalling(epoch, committed.packet):
            if is_there or layer.has_ends:
                for signs in signs_of_packet(packet):
                    layer.forget(signs)
            if is_there:
                return None
            loaded = load_into(layer, packet, self._shard, refuse_non_finite=self._non_finite.refuse)
            expect_as_committed(committed, packet, loaded)
        return loaded

    def _load_back(self, epoch: int, packets: Packets, added: Set[str], layer: _core.Layer) -> list[Loaded | None]:
        """Fills a layer over the current epoch, which has packets that are to go: all other files say what their signs have."""
        here = [packet for packet in self.packets.values() if not self.is_old(packet)]
        wanted = self._signs_of([packet for packet in here if not is_part({packet.packet: packet}, packets)], epoch)
        if self._checkpoint is None:
            layer.add_tombstones(wanted)
        else:
            if not self._checkpoint.is_still(*self._shard):
                problem = f"{self._checkpoint} was written anew after this server loaded it; restart this server"
                raise StalledError(epoch, None, problem)
            files = self._checkpoint.each_at_hand(self._checkpoint.files)
            put_from_checkpoint(layer, wanted, files, self._checkpoint.ends)
        loaded = []
        for packet in sorted((one for one in packets.values() if not self.is_old(one)), key=lambda one: one.key):
            loaded.append(self._load((packet, packet.packet not in added), layer, epoch))
            if packet.packet not in added:
                with stalling(epoch, packet.packet):
                    put_again(layer, wanted, packet_below(self._root, packet))
        return loaded

    def _signs_of(self, packets: list[CommittedPacket], epoch: int) -> npt.NDArray[np.uint64]:
        """The signs of the shard of which the packets say anything, each once and in order."""
        found = [np.empty(0, np.uint64)]
        for packet in packets:
            with stalling(epoch, packet.packet):
                found += signs_of_packet(packet_below(self._root, packet))
        signs = np.unique(np.concatenate(found))
        index, count = self._shard
        of_shard: npt.NDArray[np.uint64] = signs[shard_of(signs, count) == index]
        return of_shard
