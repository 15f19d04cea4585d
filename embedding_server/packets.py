"""Incremental update packets as they lie on disk: INCREMENTAL_DIR/s{i}/inc_{time}/{i}_{j}.inc, and a marker when complete."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.errors import CorruptFile

from .writer.manifest import MANIFEST, check_manifest
from .writer.packet import MARKER

__all__ = ["Packet", "PacketFile", "PacketKey", "find_packets", "load_packet", "packet_key", "signs_of_packet"]

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


def find_packets(
    root: Path,
    skip: Callable[[Path, int], bool],
    on_error: Callable[[Packet, OSError], None],
) -> Iterator[Packet]:
    """Every complete packet below `root`; nothing if there is no such directory.

    skip(directory, mtime_ns) says which directories need not be looked into; on_error is told of each packet that cannot be
    read, without its files. Raises OSError for a shard that cannot be read, after all others.
    """
    failed: OSError | None = None
    for shard in _directories(root, r"s(\d+)"):
        try:
            directories = _directories(Path(shard.path), r"inc_\d+")
        except OSError as error:
            failed = error
            continue
        for directory in directories:
            packet = Packet(Path(directory.path), int(shard.name[1:]))
            try:
                if not skip(packet.directory, directory.stat().st_mtime_ns) and (found := _look_into(packet)).files:
                    yield found
            except OSError as error:
                if os.path.lexists(directory.path):  # else it was deleted just now
                    on_error(packet, error)
    if failed is not None:
        raise failed


def _look_into(packet: Packet) -> Packet:
    """The packet with its files; without, as long as it is not complete."""
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


def _directories(parent: Path, pattern: str) -> list[os.DirEntry[str]]:
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
    seconds = 0
    for path in packet.paths():
        _rows, of_file = layer.load_inc(path, shard_index, shard_count)
        seconds = max(seconds, of_file)
    return layer, _key(packet, seconds)


def signs_of_packet(packet: Packet) -> Iterator[npt.NDArray[np.uint64]]:
    """The signs of all rows of a packet, in blocks."""
    for path in packet.paths():
        for signs, _dims, _values, _recency in _core.IncReader(path):
            yield signs
