"""An epoch into the table: its packets in one layer, over that epoch in memory from which the least is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.errors import CorruptFile, PersiaError
from persia.formats.committing import committed_files
from persia.formats.epoch import CommittedCheckpoint, CommittedPacket
from persia.formats.epoch_history import Packets
from persia.formats.packet import Packet, PacketFile
from persia.signs import shard_of

from ..base import Base, open_base
from ..expiry import Expiring
from ..non_finite import NonFiniteTally
from ..options import ShardOptions
from .applier import Loaded, load_into, signs_of_packet
from .epoch_checkpoint import put_difference
from .epoch_return import put_again, put_from_checkpoint

__all__ = ["EpochBuilder", "Published", "StalledError", "is_part"]


class StalledError(PersiaError):
    """An epoch cannot be built. `packet`: because of that packet; None: because of the checkpoint.

    `base`: the checkpoint that could not be taken over. `seconds`: for so long it was tried.
    """

    def __init__(self, epoch: int, packet: str | None, problem: str, base: Base | None = None, seconds: float = 0.0) -> None:
        super().__init__(epoch, packet, problem, base, seconds)
        self.epoch, self.packet, self.problem, self.base, self.seconds = epoch, packet, problem, base, seconds

    def __str__(self) -> str:
        what = "" if self.packet is None else f"packet {self.packet}: "
        return f"epoch {self.epoch} cannot be built: {what}{self.problem}"


@dataclass(frozen=True)
class Published:
    """An epoch that lookups are answered from. `packets`: those that came with it, without those that the checkpoint has."""

    epoch: int
    packets: list[CommittedPacket]
    changes: int  # rows and deletions
    version: int  # of the table


@dataclass(frozen=True)
class _Built:
    epoch: int
    packets: Packets
    base: Base


@contextmanager
def _stalling(epoch: int, packet: CommittedPacket) -> Iterator[None]:
    """Whatever keeps a packet from being read stalls the epoch."""
    try:
        yield
    except (PersiaError, OSError, MemoryError) as error:
        raise StalledError(epoch, packet.packet, str(error) or repr(error)) from error


def is_part(packets: Packets, other: Packets) -> bool:
    """Whether the others have all of these packets."""
    return all((there := other.get(name)) and there.has_all_of(packet) for name, packet in packets.items())


def _has(base: Base, packet: CommittedPacket) -> bool:
    return base.bounds.has(packet.shard, packet.unix_seconds)


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

    def build(self, epoch: int, packets: Packets, named: CommittedCheckpoint | None = None) -> Published:
        """Publishes the epoch, which has these packets, over the checkpoint that a record names.

        Raises StalledError: then the table is as it was.
        """
        layer = _core.Layer(self._options.storage)
        base = self._base_of(epoch, named)
        nearest = self._nearest(packets, base)
        onto = nearest or self._built[-1]
        added = [packet for packet in packets.values() if onto.packets.get(packet.packet) != packet]
        found: list[tuple[Path, _core.NonFiniteRows]] = []
        if nearest is not None:
            loaded = [self._load(step, layer, epoch) for step in self._steps(added, onto.packets, base)]
        elif onto.base == base:
            loaded = self._load_back(epoch, packets, {packet.packet for packet in added}, layer)
        else:
            base, found, loaded = self._load_other_base(epoch, packets, base, layer)
        size = layer.size
        if base != self.base:
            self._on_base(epoch, base)
        self.version = self._expiring.begin_epoch(layer, epoch, onto.epoch)
        for one in loaded:
            found += one.non_finite if one is not None else ()
        for path, rows in found:
            self._non_finite.note(path, rows)
        self._built.append(_Built(epoch, packets, base))
        self._forget_what_the_table_has_not()
        return Published(epoch, [packet for packet in added if not self.is_old(packet)], size, self.version)

    def is_old(self, packet: CommittedPacket) -> bool:
        """Whether the table's checkpoint has it."""
        return _has(self.base, packet)

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

    def _steps(self, added: list[CommittedPacket], before: Packets, base: Base) -> Iterator[tuple[CommittedPacket, bool]]:
        """In the order of packets, from the first one that is added on: which one, and whether it is in the table already."""
        new = sorted((packet for packet in added if not _has(base, packet)), key=lambda packet: packet.key)
        if not new:
            return
        names = {packet.packet for packet in new}
        there = [packet for packet in before.values() if packet.key > new[0].key and packet.packet not in names]
        for packet in sorted(new + [one for one in there if not _has(base, one)], key=lambda packet: packet.key):
            yield packet, packet.packet not in names

    def _load(self, step: tuple[CommittedPacket, bool], layer: _core.Layer, epoch: int) -> Loaded | None:
        """What a packet says goes over what older ones have said; of one in the table, the older ones say nothing."""
        committed, is_there = step
        packet = self._packet(committed)
        with _stalling(epoch, committed):
            if is_there or layer.has_ends:
                for signs in signs_of_packet(packet):
                    layer.forget(signs)
            if is_there:
                return None
            loaded = load_into(layer, packet, self._options.place, refuse_non_finite=self._non_finite.refuse)
            self._expect_as_committed(committed, packet, loaded)
        return loaded

    def _load_back(self, epoch: int, packets: Packets, added: Set[str], layer: _core.Layer) -> list[Loaded | None]:
        """Fills a layer over the current epoch, which has packets that are to go: all other files say what their signs have."""
        here = [packet for packet in self.packets.values() if not self.is_old(packet)]
        wanted = self._signs_of([packet for packet in here if not is_part({packet.packet: packet}, packets)], epoch)
        checkpoint = self.base.checkpoint
        if checkpoint is None:
            layer.add_tombstones(wanted)
        else:
            if not checkpoint.is_still(*self._options.place):
                problem = f"{checkpoint} was written anew after this server loaded it; restart this server"
                raise StalledError(epoch, None, problem)
            put_from_checkpoint(layer, wanted, checkpoint.each_at_hand(checkpoint.files), checkpoint.ends)
        loaded = []
        for packet in sorted((one for one in packets.values() if not self.is_old(one)), key=lambda one: one.key):
            loaded.append(self._load((packet, packet.packet not in added), layer, epoch))
            if packet.packet not in added:
                with _stalling(epoch, packet):
                    put_again(layer, wanted, self._packet(packet))
        return loaded

    def _load_other_base(
        self, epoch: int, packets: Packets, base: Base, layer: _core.Layer
    ) -> tuple[Base, list[tuple[Path, _core.NonFiniteRows]], list[Loaded | None]]:
        """Fills a layer over the current epoch, which has another checkpoint: what the files of this one say otherwise."""
        began = time.monotonic()
        # What these packets say last, they say in both epochs.
        common: Packets = {}
        if is_part(self.packets, packets):
            common = {name: one for name, one in self.packets.items() if not self.is_old(one) and not _has(base, one)}
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
        return base, found, [self._load(step, layer, epoch) for step in self._steps(added, common, base)]

    def _signs_in(self, packets: list[CommittedPacket], epoch: int) -> Iterator[npt.NDArray[np.uint64]]:
        for packet in packets:
            with _stalling(epoch, packet):
                yield from signs_of_packet(self._packet(packet))

    def _signs_of(self, packets: list[CommittedPacket], epoch: int) -> npt.NDArray[np.uint64]:
        """The signs of the shard of which the packets say anything, each once and in order."""
        signs = np.unique(np.concatenate([np.empty(0, np.uint64), *self._signs_in(packets, epoch)]))
        index, count = self._options.place
        of_shard: npt.NDArray[np.uint64] = signs[shard_of(signs, count) == index]
        return of_shard

    def _expect_as_committed(self, committed: CommittedPacket, packet: Packet, loaded: Loaded) -> None:
        now = committed_files(packet.directory, [file.name for file in committed.files], loaded.manifest)
        for expected, got in zip(committed.files, now, strict=True):
            if got != expected:
                what = "{0.bytes} bytes of CRC-32 {0.crc32}"
                raise CorruptFile(
                    str(packet.directory / got.name), f"{what.format(expected)}, by the epoch's record", what.format(got), 0
                )
        if loaded.key != committed.key:
            expected_at = f"a packet of second {committed.unix_seconds}, by the epoch's record"
            raise CorruptFile(str(packet.directory), expected_at, f"one of second {loaded.key[0]}", 0)

    def _packet(self, committed: CommittedPacket) -> Packet:
        """As it was committed: without the times of its files."""
        files = tuple(PacketFile(file.name, file.bytes, 0) for file in committed.files)
        return Packet(self._root / committed.packet, committed.shard, files)
