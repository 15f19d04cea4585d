"""Incremental update packets as they lie on disk: INCREMENTAL_DIR/s{i}/inc_{time}/{i}_{j}.inc, and a marker when complete."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.errors import CorruptFile

from .writer.manifest import MANIFEST, check_manifest
from .writer.packet import MARKER

__all__ = ["Done", "Packet", "PacketFile", "PacketKey", "load_packet", "look_into", "packet_key", "signs_of_packet"]

# Bytes of a row with one value.
_MIN_ROW = 24

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
        return f"s{self.shard}/{self.directory.name}"

    def paths(self) -> list[Path]:
        return [self.directory / file.name for file in self.files]


@dataclass(frozen=True)
class Done:
    """A packet that is applied, or older than the checkpoint in the table; `seconds`: its time, by its files."""

    packet: Packet
    seconds: int


def look_into(packet: Packet) -> Packet:
    """The packet with its files; without, as long as it is not complete. Raises OSError."""
    # The marker first: a list that was begun before it came may lack files that came before it.
    if not (packet.directory / MARKER).exists():
        return packet
    names = sorted(os.listdir(packet.directory), key=_file_order)
    files = tuple(_look_at(packet.directory, name) for name in names if name.endswith(".inc"))
    return replace(packet, files=files, manifest=_look_at(packet.directory, MANIFEST) if MANIFEST in names else None)


def _look_at(directory: Path, name: str) -> PacketFile:
    status = os.stat(directory / name)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "expected a file, got something else", str(directory / name))  # a pipe would never end
    return PacketFile(name, status.st_size, status.st_mtime_ns)


def _file_order(name: str) -> tuple[list[int], str]:
    """{i}_{j}.inc in the order of j, as the trainer wrote them."""
    return [int(number) for number in re.findall(r"\d+", name)], name


def packet_key(packet: Packet) -> PacketKey:
    """Reads the packet's time, which stands last in each file. Raises CorruptFile, OSError.

    It is good for a first order only: what it says of a file that is broken, or just being written, means nothing.
    """
    seconds = 0
    for path in packet.paths():
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < 12:
                raise CorruptFile(str(path), "at least 12 bytes: a count of rows and a time", f"{size} bytes", size)
            file.seek(size - 8)
            seconds = max(seconds, int.from_bytes(file.read(8), "little"))
    return _key(packet, seconds)


def _key(packet: Packet, seconds: int) -> PacketKey:
    return seconds, packet.directory.name, packet.shard


def load_packet(packet: Packet, storage: str, shard_index: int, shard_count: int) -> tuple[_core.Layer, PacketKey]:
    """All rows of the packet that belong to the shard, and its key by the very bytes that they were read from.

    Raises CorruptFile, OSError: then nothing of it is to be used.

    A packet of our own writer is first held against its manifest; one of Persia's has none.
    """
    check_manifest(packet.directory)
    layer = _core.Layer(storage)
    layer.reserve(sum(map(_claimed_rows, packet.paths())) // shard_count)
    seconds = 0
    for path in packet.paths():
        _rows, of_file = layer.load_inc(path, shard_index, shard_count)
        seconds = max(seconds, of_file)
    return layer, _key(packet, seconds)


def _claimed_rows(path: Path) -> int:
    """What stands at the file's start, as far as it can be true; whoever reads the rows finds out whether it is."""
    with path.open("rb") as file:
        return min(int.from_bytes(file.read(4), "little"), os.fstat(file.fileno()).st_size // _MIN_ROW)


def signs_of_packet(packet: Packet) -> Iterator[npt.NDArray[np.uint64]]:
    """The signs of all rows of a packet, in blocks."""
    for path in packet.paths():
        for signs, _dims, _values, _recency in _core.IncReader(path):
            yield signs
