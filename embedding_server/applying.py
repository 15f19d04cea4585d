"""One packet into the table: read and check it, find its place in the order, publish what no newer packet says otherwise."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from persia import _core
from persia.errors import PersiaError

from .bounds import Bounds
from .expiry import Expiring
from .non_finite import NonFiniteTally
from .packets import Packet, PacketKey, load_packet, signs_of_packet

__all__ = ["Applied", "Applier", "TooLateError"]


@dataclass(frozen=True)
class Applied:
    """A packet that is in the table. `changes`: its rows and deletions that were published."""

    key: PacketKey
    packet: Packet
    changes: int
    version: int


class TooLateError(PersiaError):
    """The order cannot be kept: a newer packet is applied, and which rows it had cannot be read any more."""

    def __init__(self, newer: Applied, until_restart: bool) -> None:
        # The older packet's rows could be newer than those of the table only where the deleted one has none.
        super().__init__(
            f"the packet is older than {newer.packet.name}, which was applied and whose files have since been deleted, so the "
            "server cannot tell which rows of this packet are still current; the next start of the server applies the packet, "
            "unless the checkpoint already contains it"
        )
        self.until_restart = until_restart


class Applier:
    """For one thread."""

    def __init__(
        self,
        table: _core.Table,
        storage: str,
        shard: tuple[int, int],
        bounds: Bounds,
        expiring: Expiring | None = None,
        non_finite: NonFiniteTally | None = None,
    ) -> None:
        """shard: index and count; bounds: which packets are in the table already, because the checkpoint has them."""
        self._table, self._storage, self._shard, self.bounds = table, storage, shard, bounds
        self.expiring = expiring or Expiring(table, storage)
        self._non_finite = non_finite or NonFiniteTally()
        self.applied: list[Applied] = []  # that are on disk still, in the order of their keys
        self._forgotten: Applied | None = None  # the newest that is deleted

    def apply(self, packet: Packet) -> tuple[PacketKey, Applied | None]:
        """The packet's key, and what was applied of it: None if the checkpoint has it.

        Raises PersiaError, OSError, MemoryError: then nothing of it is in the table.
        """
        loaded = load_packet(packet, self._storage, self._shard, refuse_non_finite=self._non_finite.refuse)
        # Not the key that it was sorted by: its files may have been written in the meantime.
        layer, key = loaded.layer, loaded.key
        if self.bounds.has(packet.shard, key[0]):  # its time is believed only now that all of it is checked
            return key, None
        if self._forgotten is not None and key < self._forgotten.key:
            raise TooLateError(self._forgotten, until_restart=True)
        for newer in self.applied[bisect_right(self.applied, key, key=_key) :]:
            try:
                for signs in signs_of_packet(newer.packet):
                    layer.drop(signs)
            except FileNotFoundError:
                raise TooLateError(newer, until_restart=False) from None
        changes = layer.size
        version = self.expiring.publish(layer) if changes else self._table.pin().version
        for path, found in loaded.non_finite:
            self._non_finite.note(path, found)
        applied = Applied(key, packet, changes, version)
        self.applied.insert(bisect_right(self.applied, key, key=_key), applied)
        return key, applied

    def forget(self, directories: Set[Path]) -> None:
        """Packets that are deleted: of months of them, only those that are on disk are kept in mind."""
        newest = max((applied for applied in self.applied if applied.packet.directory in directories), key=_key, default=None)
        if newest is not None and (self._forgotten is None or newest.key > self._forgotten.key):
            self._forgotten = newest
        self.applied = [applied for applied in self.applied if applied.packet.directory not in directories]


def _key(applied: Applied) -> PacketKey:
    return applied.key
