"""Finding packets again and again, and cheaply: what is done with and rests is not looked at in every scan."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .packets import Packet, look_into

__all__ = ["REST_NS", "Finder"]

# File systems stamp changes with a clock that ticks some milliseconds apart: until a directory has rested for so long, an
# unchanged stamp does not prove that nothing came in.
REST_NS = 2_000_000_000

# How often all directories are looked at, also those that rest: files may be added to an old packet, and disks may lie.
FULL_SCAN_SECONDS = 10.0


@dataclass
class _Shard:
    number: int
    mtime_ns: int = 0  # when it was listed at rest
    names: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)  # to be looked at in every scan
    resting: dict[str, int] = field(default_factory=dict)  # the others, which are done with -> mtime_ns


class Finder:
    """What lies below one directory of packets. For one thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._shards: dict[str, _Shard] = {}
        self._looked_at_all = float("-inf")
        self.failures: list[OSError] = []  # of the last scan: shards that cannot be read
        self.vanished: list[Path] = []  # packets that are deleted; whoever has dealt with them clears it

    def find(self, is_done: Callable[[Path], bool], on_error: Callable[[Packet, OSError], None]) -> Iterator[Packet]:
        """Complete packets that are not done with, or may have changed since; nothing if there is no such directory.

        on_error is told of each packet that cannot be read, without its files. Raises OSError if the root cannot be read.
        """
        self.failures = []
        everything = time.monotonic() - self._looked_at_all >= FULL_SCAN_SECONDS
        entries = directories_in(self._root, r"s(\d+)")
        for path in self._shards.keys() - {entry.path for entry in entries}:
            shard = self._shards[path]  # if it comes back, it may be with other packets
            shard.active, shard.resting, shard.mtime_ns = set(shard.names), {}, 0
        for entry in sorted(entries, key=lambda entry: entry.name):
            shard = self._shards.setdefault(entry.path, _Shard(int(entry.name[1:])))
            try:
                self._list(entry, shard, everything)
            except FileNotFoundError:
                continue  # it was deleted just now
            except OSError as error:
                self.failures.append(error)
                continue
            for name in sorted(shard.names if everything else shard.active):
                path = f"{entry.path}/{name}"
                try:
                    mtime_ns = os.stat(path).st_mtime_ns
                    if shard.resting.get(name) == mtime_ns:
                        continue
                    packet = Packet(Path(path), shard.number)
                    self._rest(packet, shard, mtime_ns if is_done(packet.directory) else None)
                    if (found := look_into(packet)).files:
                        yield found
                except OSError as error:
                    if os.path.lexists(path):  # else it was deleted just now
                        on_error(Packet(Path(path), shard.number), error)
        if everything:
            self._looked_at_all = time.monotonic()

    def _list(self, entry: os.DirEntry[str], shard: _Shard, everything: bool) -> None:
        mtime_ns = entry.stat().st_mtime_ns
        if mtime_ns == shard.mtime_ns and not everything:
            return
        names = {found.name for found in directories_in(Path(entry.path), r"inc_\d+", shard.names)}
        # All at once: more likely a disk that is not mounted just now.
        if names or not shard.names:
            shard.active |= names - shard.names
            for name in shard.names - names:
                self.vanished.append(Path(entry.path, name))
                shard.active.discard(name)
                shard.resting.pop(name, None)
            shard.names = names
        shard.mtime_ns = mtime_ns if time.time_ns() - mtime_ns > REST_NS else 0

    @staticmethod
    def _rest(packet: Packet, shard: _Shard, mtime_ns: int | None) -> None:
        """mtime_ns: None for a packet that is not done with; a file that is mended in place does not show there."""
        name = packet.directory.name
        if mtime_ns is not None and time.time_ns() - mtime_ns > REST_NS:
            shard.resting[name] = mtime_ns
            shard.active.discard(name)
        else:
            shard.resting.pop(name, None)
            shard.active.add(name)

    def look_again(self, packet: Packet) -> None:
        """The packet is not done with, whatever was said before."""
        self._rest(packet, self._shards[str(packet.directory.parent)], None)


def directories_in(parent: Path, pattern: str, known: Container[str] = ()) -> list[os.DirEntry[str]]:
    """Those that are known or whose name is of the pattern, in no order; none if there is no such parent. Raises OSError."""
    form = re.compile(pattern)
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
