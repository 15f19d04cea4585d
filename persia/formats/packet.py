"""A packet's directory: its files as they lie there, its place in the order of packets, and its name."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass, replace
from datetime import datetime as DateTime
from datetime import timedelta
from pathlib import Path

from persia.errors import CorruptFile, InvalidInput

from .layout import DELETIONS, ENDS, MANIFEST, PACKET_FILES, PACKET_MARKER, ROWS, packet_label

__all__ = ["REST_NS", "Packet", "PacketFile", "PacketKey", "is_packet_name", "key_at", "look_into", "packet_key", "packet_name"]

# File systems stamp changes with a clock that ticks some milliseconds apart: until a file or directory has rested for so long,
# an unchanged stamp does not prove that nothing changed.
REST_NS = 2_000_000_000

_NAME = re.compile(r"inc_(\d{14})")
_TIME = "%Y%m%d%H%M%S"

# The order of packets: when the trainer wrote it, then the name of its directory, then the training shard.
PacketKey = tuple[int, str, int]


@dataclass(frozen=True)
class PacketFile:
    """A file as it was seen: another size or time means that it was written again."""

    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Packet:
    """A packet and its files, in their order."""

    directory: Path
    shard: int
    files: tuple[PacketFile, ...] = ()
    manifest: PacketFile | None = None

    @property
    def name(self) -> str:
        return packet_label(self.shard, self.directory.name)

    def paths(self, kind: str) -> list[Path]:
        """Its files whose name ends so, in their order."""
        return [self.directory / file.name for file in self.files if file.name.endswith(kind)]


def look_into(packet: Packet) -> Packet:
    """Returns the packet with its files, or without files as long as the packet is not complete. Raises OSError."""
    # The marker first: a list that was begun before it came may lack files that came before it.
    if not (packet.directory / PACKET_MARKER).exists():
        return packet
    names = sorted(os.listdir(packet.directory), key=_file_order)
    files = tuple(_look_at(packet.directory, name) for name in names if name.endswith(PACKET_FILES))
    return replace(packet, files=files, manifest=_look_at(packet.directory, MANIFEST) if MANIFEST in names else None)


def _look_at(directory: Path, name: str) -> PacketFile:
    status = os.stat(directory / name)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "expected a file, got something else", str(directory / name))  # a pipe would never end
    return PacketFile(name, status.st_size, status.st_mtime_ns)


def _file_order(name: str) -> tuple[list[int], str]:
    """Files of one kind in the order of j in {i}_{j}, as the trainer wrote them."""
    return [int(number) for number in re.findall(r"\d+", name)], name


def packet_key(packet: Packet) -> PacketKey:
    """Reads the packet's time, which is the latest time of its files. Raises CorruptFile, OSError.

    The key is good for a first order only, because a file may be broken, or just being written.
    """
    from .sign_files import claimed_seconds  # which imports numpy, for which reading a checkpoint need not wait

    seconds = 0
    for kind in (DELETIONS, ENDS):
        seconds = max([seconds, *map(claimed_seconds, packet.paths(kind))])
    for path in packet.paths(ROWS):
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < 12:
                raise CorruptFile(str(path), "at least 12 bytes: a count of rows and a time", f"{size} bytes", size)
            file.seek(size - 8)
            seconds = max(seconds, int.from_bytes(file.read(8), "little"))
    return key_at(packet, seconds)


def key_at(packet: Packet, seconds: int) -> PacketKey:
    """The key of a packet whose time is known."""
    return seconds, packet.directory.name, packet.shard


def packet_name(unix_seconds: float, last: str | None) -> str:
    """The name of a packet: its local time, or the second after the last packet's name if that is not later.

    So names stand in the order of the packets also for two packets of one second, in the hour that comes twice when
    summer time ends, and after the clock was set back. The true time is in the files.
    """
    now = DateTime.fromtimestamp(unix_seconds).strftime(f"inc_{_TIME}")
    if last is None or now > last:
        return now
    try:
        return (_time_of(last) + timedelta(seconds=1)).strftime(f"inc_{_TIME}")
    except OverflowError:
        raise InvalidInput(f"expected packets before the year 10000, got {last}") from None


def is_packet_name(name: str) -> bool:
    """Whether a name is of the form that trainers use."""
    try:
        _time_of(name)
    except ValueError:
        return False
    return True


def _time_of(name: str) -> DateTime:
    digits = _NAME.fullmatch(name)
    if digits is None:
        raise InvalidInput(f"expected inc_ and 14 digits, got {name!r}")
    return DateTime.strptime(digits[1], _TIME)
