"""What each packet is, and what is to be done with it: decisions alone, without a disk, a clock or a table.

    incomplete ---its marker---> complete ---look_at---> to be applied ---settle---> APPLIED, or OLD if the checkpoint has it
                                                          |         ^                   |     |
                                                        refuse      |                   |   forget: its directory is gone
                                                          v         |                   |     v
                                                       SET_ASIDE ---+-------------------+    GONE
                                                         it changed, or the reason       it has new files
                                                         may have passed

    incomplete   it has no marker: look_into() of persia.formats.packet finds no files of it, and look_at() gives None
    late         newer packets were applied before it came: newer_than() tells which, and their signs are left out of it
    old          the checkpoint has it: is_in_checkpoint() asks Bounds.has(), and nothing of the packet is published
    waits        it was set aside by refuse() for what stays wrong until its files change: look_at() gives None until then. If
                 newer_than() raised TooLateError because of one that is GONE, it waits for the next start in the same way

A packet that got a broken file after it was applied is APPLIED as it was then, and SET_ASIDE as it is now.

The order of packets is that of their keys, whenever they come: of two packets with one sign the newer one counts. So a packet
that comes late is applied without the signs of all newer ones. Of packets that are GONE only the newest is kept in mind: which
signs it had cannot be read any more, so whatever is older than it and comes now is set aside until the next start.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from persia.errors import CorruptFile, PersiaError
from persia.formats.bounds import Bounds
from persia.formats.packet import REST_NS, Packet, PacketKey

__all__ = ["Ledger", "SetAside", "Settled", "Status", "TooLateError"]


class Status(Enum):
    """What a packet is. The ledger does not tell one that it has never met from one that is gone."""

    UNKNOWN = "unknown"
    APPLIED = "applied"
    OLD = "old"
    SET_ASIDE = "set aside"


@dataclass(frozen=True)
class Settled:
    """A packet as it was when it was settled. `changes`: its rows and deletions that were published.

    `version` is that of the table which has them first; None: the checkpoint has the packet, and nothing was published.
    """

    key: PacketKey
    packet: Packet
    changes: int = 0
    version: int | None = None

    @property
    def seconds(self) -> int:
        """The packet's time, by its files."""
        return self.key[0]

    @property
    def status(self) -> Status:
        return Status.OLD if self.version is None else Status.APPLIED


@dataclass(frozen=True)
class SetAside:
    """A packet as it was when it was refused. `until_it_changes`: there is no use in trying again before."""

    packet: Packet
    reason: str
    until_it_changes: bool


class TooLateError(PersiaError):
    """The order cannot be kept: a newer packet is applied, and which rows it had cannot be read any more."""

    def __init__(self, newer: Settled, until_restart: bool) -> None:
        # The older packet's rows could be newer than those of the table only where the deleted one has none.
        super().__init__(
            f"the packet is older than {newer.packet.name}, which was applied and whose files have since been deleted, so the "
            "server cannot tell which rows of this packet are still current; the next start of the server applies the packet, "
            "unless the checkpoint already contains it"
        )
        self.until_restart = until_restart


class Ledger:
    """For one thread; set_aside() for any."""

    def __init__(self, bounds: Bounds, parts: Mapping[str, Collection[str]] | None = None) -> None:
        """bounds: which packets the table's checkpoint has.

        parts: of the packets that an earlier run has applied, the names of the files that they had then.
        """
        self.bounds = bounds
        self._parts = dict(parts or {})
        self._settled: dict[Path, Settled] = {}
        self._set_aside: dict[Path, SetAside] = {}
        self._applied: list[Settled] = []  # those of `_settled` that are APPLIED, in their order
        self._newest_gone: Settled | None = None

    def __repr__(self) -> str:
        gone = f", newest gone {self._newest_gone.packet.name}" if self._newest_gone else ""
        newest = f", newest {self._applied[-1].packet.name}" if self._applied else ""
        old = len(self._settled) - len(self._applied)
        return f"<Ledger: {len(self._applied)} applied{newest}, {old} old, {len(self._set_aside)} set aside{gone}>"

    # What happens to packets.

    def look_at(self, packet: Packet) -> Packet | None:
        """Returns what is to be applied of the packet. None: it is not complete, or there is nothing to do."""
        if not packet.files:
            return None
        packet = self._part_applied_before(packet)
        settled, aside = self._settled.get(packet.directory), self._set_aside.get(packet.directory)
        # A packet with one new file is applied as a whole again: its place in the order may be another now, and a restart,
        # which finds all files, must come to the same rows.
        if settled is not None and set(settled.packet.files).issuperset(packet.files):
            self.clear_set_aside([packet.directory])  # the system refused to show it for a while, or what was added is gone
            return None
        if aside is not None and aside.until_it_changes and aside.packet == packet:
            return None
        return packet

    def settle(self, settled: Settled) -> None:
        """Notes that the packet is in the table, or in the checkpoint."""
        directory = settled.packet.directory
        before = self._settled.get(directory)
        if before is not None and before.status is Status.APPLIED:
            self._applied.remove(before)
        self._settled[directory] = settled
        if settled.status is Status.APPLIED:
            self._applied.insert(bisect_right(self._applied, settled.key, key=_key), settled)
        self._parts.pop(settled.packet.name, None)
        self.clear_set_aside([directory])

    def refuse(self, packet: Packet, error: Exception, now_ns: int) -> str | None:
        """Sets the packet aside. Returns the reason, or None if the packet was set aside for the same reason before."""
        # A file's name may be any bytes; the status, which is UTF-8, must not break on it.
        reason = (str(error) or repr(error)).encode(errors="backslashreplace").decode()
        before = self._set_aside.get(packet.directory)
        self._set_aside[packet.directory] = SetAside(packet, reason, _stays(packet, error, now_ns))
        return None if before is not None and before.reason == reason else reason

    def clear_set_aside(self, directories: Iterable[Path]) -> None:
        """Notes that the packets are no longer set aside: they are mended, or their directories cannot be seen."""
        for directory in directories:
            self._set_aside.pop(directory, None)

    def forget(self, directories: Collection[Path]) -> int:
        """Notes that the packets are gone from the disk, so that memory does not grow with their number.

        Returns how many of them were settled.
        """
        gone = {directory for directory in directories if self._settled.pop(directory, None)}
        if not gone:
            return 0
        applied = [settled for settled in self._applied if settled.packet.directory in gone]
        self._applied = [settled for settled in self._applied if settled.packet.directory not in gone]
        newest = max([*applied, *filter(None, [self._newest_gone])], key=_key, default=None)
        self._newest_gone = newest
        return len(gone)

    # What follows from it.

    def is_in_checkpoint(self, packet: Packet, key: PacketKey) -> bool:
        return self.bounds.has(packet.shard, key[0])

    def newer_than(self, key: PacketKey) -> list[Settled]:
        """The applied packets that come after a packet with that key, whose rows a late packet must not replace.

        Raises TooLateError if such a packet is gone.
        """
        if self._newest_gone is not None and key < self._newest_gone.key:
            raise TooLateError(self._newest_gone, until_restart=True)
        return self._applied[bisect_right(self._applied, key, key=_key) :]

    def status(self, directory: Path) -> Status:
        if directory in self._set_aside:
            return Status.SET_ASIDE
        settled = self._settled.get(directory)
        return Status.UNKNOWN if settled is None else settled.status

    def is_settled(self, directory: Path) -> bool:
        """Whether the packet need not be looked at as long as it rests."""
        return self.status(directory) in (Status.APPLIED, Status.OLD)

    @property
    def applied(self) -> list[Settled]:
        """The packets in the table that are on disk still, in their order."""
        return self._applied

    @property
    def newest_applied(self) -> Settled | None:
        return self._applied[-1] if self._applied else None

    def settled(self) -> list[Settled]:
        """The packets that are settled as they lie there, and not set aside."""
        return [settled for directory, settled in self._settled.items() if directory not in self._set_aside]

    def directories_set_aside(self) -> list[Path]:
        return list(self._set_aside)

    def set_aside(self) -> dict[str, str]:
        """Packets by name, and why."""
        return {aside.packet.name: aside.reason for aside in self._set_aside.copy().values()}

    def names_here(self) -> set[str]:
        """The packets that are on disk, as far as it is known, and not in the checkpoint."""
        return {settled.packet.name for settled in self._applied} | self.set_aside().keys()

    def _part_applied_before(self, packet: Packet) -> Packet:
        """The part that an earlier run applied, if the packet grew since: that part counts even if the rest is broken."""
        if packet.directory in self._settled:
            return packet
        part = tuple(file for file in packet.files if file.name in self._parts.get(packet.name, ()))
        return replace(packet, files=part or packet.files)


def _key(settled: Settled) -> PacketKey:
    return settled.key


def _stays(packet: Packet, error: Exception, now_ns: int) -> bool:
    """Whether there is no use in trying the packet again before it changes.

    A broken file stays broken until it is written again. A file that was written just now may be written again without getting
    another time. An error of the system, or of a newer packet, may pass by itself.
    """
    if isinstance(error, TooLateError):
        return error.until_restart
    if not isinstance(error, CorruptFile) or Path(error.file).parent != packet.directory:
        return False
    newest = max((file.mtime_ns for file in (*packet.files, packet.manifest) if file), default=0)
    return now_ns - newest > REST_NS
