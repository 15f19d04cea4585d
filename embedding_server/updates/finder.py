"""Finding packets again and again, and cheaply: what is settled and rests is not looked at in every scan."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path

from persia.formats.layout import PACKET_LIKE, SHARD_LIKE
from persia.formats.packet import REST_NS, Packet, look_into

__all__ = ["FULL_SCAN_SECONDS", "Finder", "Findings"]

# How often all directories are looked at, also those that rest: files may be added to an old packet, and disks may lie.
FULL_SCAN_SECONDS = 10.0


@dataclass
class Findings:
    """Of one scan."""

    packets: list[Packet] = field(default_factory=list)  # those that do not rest; without files if not complete
    unreadable: list[tuple[Packet, OSError]] = field(default_factory=list)  # packets, without their files
    vanished: list[Path] = field(default_factory=list)  # packets that are deleted; told once
    failures: list[OSError] = field(default_factory=list)  # shards that cannot be read


@dataclass
class _Shard:
    number: int
    mtime_ns: int = 0  # when it was listed at rest
    names: set[str] = field(default_factory=set)
    active: dict[str, int] = field(default_factory=dict)  # to be looked at in every scan -> mtime_ns at the last look
    resting: dict[str, int] = field(default_factory=dict)  # the others -> mtime_ns


class Finder:
    """What lies below one directory of packets. For one thread."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._shards: dict[str, _Shard] = {}
        self._looked_at_all = float("-inf")

    def find(self) -> Findings:
        """Finds the packets that do not rest, or that may have changed since they did. A root that is not there has none.

        Raises OSError if the root cannot be read.
        """
        findings = Findings()
        everything = self._clock() - self._looked_at_all >= FULL_SCAN_SECONDS
        entries = directories_in(self._root, SHARD_LIKE)
        for path in self._shards.keys() - {entry.path for entry in entries}:
            shard = self._shards[path]  # if it comes back, it may be with other packets
            shard.active, shard.resting, shard.mtime_ns = dict.fromkeys(shard.names, 0), {}, 0
        for entry in sorted(entries, key=lambda entry: entry.name):
            shard = self._shards.setdefault(entry.path, _Shard(int(entry.name[1:])))
            try:
                _list(entry, shard, everything, findings)
            except FileNotFoundError:
                continue  # it was deleted just now
            except OSError as error:
                findings.failures.append(error)
                continue
            _look(entry.path, shard, sorted(shard.names if everything else shard.active), findings)
        if everything:
            self._looked_at_all = self._clock()
        return findings

    def rest(self, packet: Packet) -> None:
        """Notes that the packet is settled as it was found, until its directory changes or a full scan looks at it."""
        shard, name = self._shards[str(packet.directory.parent)], packet.directory.name
        mtime_ns = shard.active.get(name, 0)
        if mtime_ns and time.time_ns() - mtime_ns > REST_NS:
            shard.resting[name] = mtime_ns
            del shard.active[name]


def _list(entry: os.DirEntry[str], shard: _Shard, everything: bool, findings: Findings) -> None:
    """Brings the names of a shard's packets up to date. Raises OSError."""
    mtime_ns = entry.stat().st_mtime_ns
    if mtime_ns == shard.mtime_ns and not everything:
        return
    names = {found.name for found in directories_in(Path(entry.path), PACKET_LIKE, shard.names)}
    # All at once: more likely a disk that is not mounted just now.
    if names or not shard.names:
        shard.active |= dict.fromkeys(names - shard.names, 0)
        for name in shard.names - names:
            findings.vanished.append(Path(entry.path, name))
            shard.active.pop(name, None)
            shard.resting.pop(name, None)
        shard.names = names
    shard.mtime_ns = mtime_ns if time.time_ns() - mtime_ns > REST_NS else 0


def _look(directory: str, shard: _Shard, names: list[str], findings: Findings) -> None:
    """Looks at packets of a shard; those that rest and have not changed are passed over."""
    for name in names:
        path = f"{directory}/{name}"
        packet = Packet(Path(path), shard.number)
        try:
            mtime_ns = os.stat(path).st_mtime_ns  # before the look: what changes meanwhile is then seen by the next one
            if shard.resting.get(name) == mtime_ns:
                continue
            shard.resting.pop(name, None)
            shard.active[name] = mtime_ns
            findings.packets.append(look_into(packet))
        except OSError as error:
            if os.path.lexists(path):  # else it was deleted just now
                shard.resting.pop(name, None)
                shard.active[name] = 0  # a file that is mended in place does not show in the directory's time
                findings.unreadable.append((packet, error))


def directories_in(parent: Path, form: re.Pattern[str], known: Container[str] = ()) -> list[os.DirEntry[str]]:
    """The directories that are known or whose name has the form, in no order. A missing parent has none. Raises OSError."""
    try:
        with os.scandir(parent) as entries:
            return [
                entry for entry in entries if entry.name in known or (form.fullmatch(entry.name) and _may_be_directory(entry))
            ]
    except FileNotFoundError:
        return []


def _may_be_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True  # such as a link to itself: whoever looks into it names it, and the others do not suffer
