"""An epoch into the table: its packets in one layer, over that epoch in memory from which the least is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.errors import PersiaError
from persia.formats.epoch import CommittedCheckpoint, CommittedPacket
from persia.formats.epoch_history import Packets
from persia.formats.variant_history import VariantPackets
from persia.signs import shard_of

from ..base import Base, open_base
from ..expiry import Expiring
from ..non_finite import NonFiniteTally
from ..options import ShardOptions
from .applier import Loaded, load_into, signs_of_packet
from .committed_packets import StalledError, expect_as_committed, is_part, packet_below, stalling, steps
from .epoch_checkpoint import put_difference
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
    base: Base


def _newer(base: Base, packets: Iterable[CommittedPacket]) -> list[CommittedPacket]:
    """Without those that the checkpoint has."""
    return [packet for packet in packets if not base.bounds.has(packet.shard, packet.unix_seconds)]


class EpochBuilder:
    """For one thread."""

    def __init__(
        self,
        table: _core.Table,
        options: ShardOptions,
        base: Base,
        expiring: Expiring,
        non_finite: NonFiniteTally,
        on_base: Callable[[int, Base], None] = lambda epoch, base: None,
    ) -> None:
        """base: what the table was loaded from.

        on_base: called with an epoch that has another checkpoint than the one before, and with that, before the epoch can be
        read; again if the epoch could not be built.
        """
        assert options.incremental_dir is not None
        self._table, self._options, self._root = table, options, options.incremental_dir
        self._expiring, self._non_finite, self._on_base = expiring, non_finite, on_base
        self._variants = VariantBuilder(options.storage, options.place, self._root, non_finite)
        self.stopping = threading.Event()  # a checkpoint that is read is given up
        self.version = 0  # of the table, when the current epoch began
        self._built = [_Built(0, {}, base)]  # the epochs that the table may still hold, the current one last
        self._unnamed = base if base.named is None else None  # what the server is set up with, once it was loaded

    @property
    def epoch(self) -> int:
        """The current one."""
        return self._built[-1].epoch

    @property
    def packets(self) -> Packets:
        """Those of the current epoch."""
        return self._built[-1].packets

    @property
    def base(self) -> Base:
        """The checkpoint of the current epoch."""
        return self._built[-1].base

    def build(
        self,
        epoch: int,
        packets: Packets,
        variants: Mapping[str, VariantPackets] | None = None,
        named: CommittedCheckpoint | None = None,
    ) -> Published:
        """Publishes the epoch, which has these packets and variants, over the checkpoint that a record names.

        Raises StalledError: then the table is as it was.
        """
        layer = _core.Layer(self._options.storage)
        base = self._base_of(epoch, named)
        nearest = self._nearest(packets, base)
        onto = nearest or self._built[-1]
        added = [packet for packet in packets.values() if onto.packets.get(packet.packet) != packet]
        found: list[tuple[Path, _core.NonFiniteRows]] = []
        if nearest is not None:
            ways = steps(_newer(base, added), _newer(base, onto.packets.values()))
            loaded = [self._load(step, layer, epoch) for step in ways]
        elif onto.base == base:
            loaded = self._load_back(epoch, packets, {packet.packet for packet in added}, layer)
        else:
            base, found, loaded = self._load_other_base(epoch, packets, base, layer)
        size = layer.size
        own = self._variants.load(epoch, variants or {})
        if base != self.base:
            self._on_base(epoch, base)
        self.version = self._expiring.begin_epoch(layer, epoch, onto.epoch, own.updates)
        self._variants.took(own)
        for one in [*loaded, *own.loaded]:
            found += one.non_finite if one is not None else ()
        for path, rows in found:
            self._non_finite.note(path, rows)
        self._built.append(_Built(epoch, packets, base))
        self._forget_what_the_table_has_not()
        return Published(epoch, [*_newer(base, added), *own.added], size, self.version)

    def is_old(self, packet: CommittedPacket) -> bool:
        """Whether the table's checkpoint has it."""
        return not _newer(self.base, [packet])

    def _base_of(self, epoch: int, named: CommittedCheckpoint | None) -> Base:
        if named is None:
            if self._unnamed is None:
                self._unnamed = self._open(epoch, None)
            return self._unnamed
        base = Base.of(named)
        return next((built.base for built in reversed(self._built) if built.base == base), base)

    def _open(self, epoch: int, base: Base | None) -> Base:
        """None: the one that the server is set up with."""
        try:
            return open_base(None if base is None else base.named, self._options)
        except (PersiaError, OSError) as error:
            what = self._options.checkpoint if base is None else base
            raise StalledError(epoch, None, f"{what}: {error}", base or Base()) from error

    def _nearest(self, packets: Packets, base: Base) -> _Built | None:
        """The newest epoch in the table that has no packet which these have not, and the same checkpoint.

        The table keeps the rows of earlier epochs, but not when they were to end.
        """
        there = self._built[-1:] if self._expiring.has_had_ends else self._built
        return next((built for built in reversed(there) if built.base == base and is_part(built.packets, packets)), None)

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
            loaded = load_into(layer, packet, self._options.place, refuse_non_finite=self._non_finite.refuse)
            expect_as_committed(committed, packet, loaded)
        return loaded

    def _load_back(self, epoch: int, packets: Packets, added: Set[str], layer: _core.Layer) -> list[Loaded | None]:
        """Fills a layer over the current epoch, which has packets that are to go: all other files say what their signs have."""
        base = self.base
        here = _newer(base, self.packets.values())
        wanted = self._signs_of([packet for packet in here if not is_part({packet.packet: packet}, packets)], epoch)
        checkpoint = base.checkpoint
        if checkpoint is None:
            layer.add_tombstones(wanted)
        else:
            if not checkpoint.is_still(*self._options.place):
                problem = f"{checkpoint} was written anew after this server loaded it; restart this server"
                raise StalledError(epoch, None, problem)
            put_from_checkpoint(layer, wanted, checkpoint.each_at_hand(checkpoint.files), checkpoint.ends)
        loaded = []
        for packet in sorted(_newer(base, packets.values()), key=lambda one: one.key):
            loaded.append(self._load((packet, packet.packet not in added), layer, epoch))
            if packet.packet not in added:
                with stalling(epoch, packet.packet):
                    put_again(layer, wanted, packet_below(self._root, packet))
        return loaded

    def _load_other_base(
        self, epoch: int, packets: Packets, base: Base, layer: _core.Layer
    ) -> tuple[Base, list[tuple[Path, _core.NonFiniteRows]], list[Loaded | None]]:
        """Fills a layer over the current epoch, which has another checkpoint: what the files of this one say otherwise."""
        began = time.monotonic()
        # What these packets say last, they say in both epochs.
        common: Packets = {}
        if is_part(self.packets, packets):
            common = {one.packet: one for one in _newer(base, _newer(self.base, self.packets.values()))}
        try:
            opened = self._open(epoch, base)
            if opened.identity != base.identity:
                problem = f"{opened.place} was written anew after this server loaded it; restart this server"
                raise StalledError(epoch, None, problem, base, time.monotonic() - began)
            base = replace(base, checkpoint=opened.checkpoint)
            kept = self._signs_in([one for one in common.values() if packets[one.packet] == one], epoch)
            found = put_difference(
                layer, base, kept, self._table, self._expiring, self._options, self._non_finite, self.stopping
            )
        except StalledError:
            raise
        except (PersiaError, OSError, MemoryError) as error:
            problem = f"{base} in {base.place}: {str(error) or repr(error)}"
            raise StalledError(epoch, None, problem, base, time.monotonic() - began) from error
        added = [one for one in packets.values() if common.get(one.packet) != one]
        ways = steps(_newer(base, added), common.values())
        return base, found, [self._load(step, layer, epoch) for step in ways]

    def _signs_in(self, packets: list[CommittedPacket], epoch: int) -> Iterator[npt.NDArray[np.uint64]]:
        for packet in packets:
            with stalling(epoch, packet.packet):
                yield from signs_of_packet(packet_below(self._root, packet))

    def _signs_of(self, packets: list[CommittedPacket], epoch: int) -> npt.NDArray[np.uint64]:
        """The signs of the shard of which the packets say anything, each once and in order."""
        signs = np.unique(np.concatenate([np.empty(0, np.uint64), *self._signs_in(packets, epoch)]))
        index, count = self._options.place
        of_shard: npt.NDArray[np.uint64] = signs[shard_of(signs, count) == index]
        return of_shard
