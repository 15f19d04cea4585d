"""One packet into the table: read and check it, find its place in the order, publish what no newer packet says otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.formats.layout import DELETIONS, ENDS, ROWS
from persia.formats.manifest import Manifest, check_content, check_manifest
from persia.formats.packet import Packet, PacketKey, key_at
from persia.formats.sign_files import SECONDS_AT, read_sign_file

from ..expiry import Expiring
from ..non_finite import NonFiniteTally
from .ledger import Ledger, Settled, TooLateError

__all__ = ["Applier", "Loaded", "load_into", "load_packet", "signs_of_packet", "signs_with_rows"]

# Bytes of a row with one value.
_MIN_ROW = 24


class Applier:
    """Puts packets into one table. Only one thread may use it."""

    def __init__(
        self,
        table: _core.Table,
        storage: str,
        shard: tuple[int, int],
        expiring: Expiring | None = None,
        non_finite: NonFiniteTally | None = None,
    ) -> None:
        """shard: index and count."""
        self._table, self._storage, self._shard = table, storage, shard
        self.expiring = expiring or Expiring(table, storage)
        self._non_finite = non_finite or NonFiniteTally()

    def apply(self, packet: Packet, ledger: Ledger) -> Settled:
        """Publishes the packet, unless the checkpoint has it. The ledger says what the table has.

        Raises PersiaError, OSError and MemoryError. Nothing of the packet is in the table then.
        """
        loaded = load_packet(packet, self._storage, self._shard, refuse_non_finite=self._non_finite.refuse)
        # Not the key that it was sorted by: its files may have been written in the meantime.
        layer, key = loaded.layer, loaded.key
        if ledger.is_in_checkpoint(packet, key):  # its time is believed only now that all of it is checked
            return Settled(key, packet)
        for newer in ledger.newer_than(key):
            try:
                for signs in signs_of_packet(newer.packet):
                    layer.forget(signs)
            except FileNotFoundError:
                raise TooLateError(newer, until_restart=False) from None
        changes = layer.size
        version = self.expiring.publish(layer) if changes else self._table.pin().version
        for path, found in loaded.non_finite:
            self._non_finite.note(path, found)
        return Settled(key, packet, changes, version)


@dataclass(frozen=True)
class Loaded:
    """A packet that has been read and checked as a whole. `key` was read from the same bytes as the layer."""

    layer: _core.Layer
    key: PacketKey
    manifest: Manifest | None
    non_finite: tuple[tuple[Path, _core.NonFiniteRows], ...]  # of each file with rows


def load_packet(packet: Packet, storage: str, shard: tuple[int, int], *, refuse_non_finite: bool = False) -> Loaded:
    """Reads what the packet says about the signs of the shard (index, count), and checks every byte of it.

    Raises CorruptFile and OSError. Nothing of the packet may be used then.
    """
    return load_into(_core.Layer(storage), packet, shard, refuse_non_finite=refuse_non_finite)


def load_into(layer: _core.Layer, packet: Packet, shard: tuple[int, int], *, refuse_non_finite: bool = False) -> Loaded:
    """Does what load_packet does, over what the layer says already. After an error the layer is of no use any more.

    A packet of our own writer is compared with its manifest; Persia's packets have none. If a packet has a row and a deletion
    of one sign, the sign ends deleted, because the files of rows are read before those of deletions. What a packet says of the
    ends of rows that it does not have is of no account.
    """
    manifest = check_manifest(packet.directory)
    is_over_others = layer.size > 0
    layer.reserve(sum(map(_claimed_rows, packet.paths(ROWS))) // shard[1])
    seconds = 0
    non_finite = []
    for path in packet.paths(ROWS):
        found = _core.NonFiniteRows(refuse_non_finite)
        _rows_of_shard, of_file = layer.load_inc(path, *shard, found)
        # The rows were read to the end, so there are as many as the file claims.
        check_content(manifest, path, _claimed_rows(path), of_file, time_at=path.stat().st_size - 8)
        seconds = max(seconds, of_file)
        non_finite.append((path, found))
    for path in (*packet.paths(DELETIONS), *packet.paths(ENDS)):
        file = read_sign_file(path)
        check_content(manifest, path, len(file.signs), file.unix_seconds, time_at=SECONDS_AT)
        if file.ends is None:
            layer.add_tombstones(file.signs, *shard)
        else:
            counts = np.isin(file.signs, signs_with_rows(packet)) if is_over_others else slice(None)
            layer.set_ends(file.signs[counts], file.ends[counts], *shard)
        seconds = max(seconds, file.unix_seconds)
    return Loaded(layer, key_at(packet, seconds), manifest, tuple(non_finite))


def _claimed_rows(path: Path) -> int:
    """The count of rows at the start of the file, or as many as the file has room for. Reading the rows shows which is true."""
    with path.open("rb") as file:
        return min(int.from_bytes(file.read(4), "little"), os.fstat(file.fileno()).st_size // _MIN_ROW)


def signs_of_packet(packet: Packet) -> Iterator[npt.NDArray[np.uint64]]:
    """The signs of which a packet says anything: those that it deletes, and those of its rows."""
    for path in packet.paths(DELETIONS):
        yield read_sign_file(path).signs
    yield signs_with_rows(packet)


def signs_with_rows(packet: Packet) -> npt.NDArray[np.uint64]:
    """The signs of which a packet has rows."""
    blocks = [signs for path in packet.paths(ROWS) for signs, _dims, _values, _recency in _core.IncReader(path)]
    return np.concatenate([np.empty(0, np.uint64), *blocks])
