"""Finding packets again and again, and cheaply: what is done with and rests is not looked at in every scan."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
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
    resting: dict[str, int] = field(default_factory=dict)  # packets that are done with -> mtime_ns


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
            self._shards[path].resting.clear()  # if it comes back, it may be with other packets
            self._shards[path].mtime_ns = 0
        for entry in entries:
            shard = self._shards.setdefault(entry.path, _Shard(int(entry.name[1:])))
            try:
                self._list(entry, shard, everything)
            except FileNotFoundError:
                continue  # it was deleted just now
            except OSError as error:
                self.failures.append(error)
                continue
            for name in sorted(shard.names if everything else shard.names - shard.resting.keys()):
                packet = Packet(Path(entry.path, name), shard.number)
                try:
                    if self._may_have_changed(packet, shard, is_done) and (found := look_into(packet)).files:
                        yield found
                except OSError as error:
                    if os.path.lexists(packet.directory):  # else it was deleted just now
                        on_error(packet, error)
        if everything:
            self._looked_at_all = time.monotonic()

    def _list(self, entry: os.DirEntry[str], shard: _Shard, everything: bool) -> None:
        mtime_ns = entry.stat().st_mtime_ns
        if mtime_ns == shard.mtime_ns and not everything:
            return
        names = {found.name for found in directories_in(Path(entry.path), r"inc_\d+")}
        # All at once: more likely a disk that is not mounted just now.
        if names or not shard.names:
            for name in shard.names - names:
                self.vanished.append(Path(entry.path, name))
                shard.resting.pop(name, None)
            shard.names = names
        shard.mtime_ns = mtime_ns if time.time_ns() - mtime_ns > REST_NS else 0

    @staticmethod
    def _may_have_changed(packet: Packet, shard: _Shard, is_done: Callable[[Path], bool]) -> bool:
        name = packet.directory.name
        mtime_ns = os.stat(packet.directory).st_mtime_ns
        rested = shard.resting.pop(name, None)
        if not is_done(packet.directory):  # also one that is set aside: a file mended in place does not show here
            return True
        if time.time_ns() - mtime_ns > REST_NS:
            shard.resting[name] = mtime_ns
        return rested != mtime_ns


def directories_in(parent: Path, pattern: str) -> list[os.DirEntry[str]]:
    """Those whose name is of the pattern, by name; none if there is no such parent. Raises OSError."""
    try:
        with os.scandir(parent) as entries:
            found = [entry for entry in entries if re.fullmatch(pattern, entry.name) and _may_be_directory(entry)]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda entry: entry.name)


def _may_be_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True  # such as a link to itself: whoever looks into it names it, and the others do not suffer
