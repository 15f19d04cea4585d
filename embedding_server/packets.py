"""Incremental update packets as they lie on disk: INCREMENTAL_DIR/s{i}/inc_{time}/{i}_{j}.inc, and a marker when complete.

Beside them may lie `{i}_{j}.del` and `{i}_{j}.ttl`, which only our writers write.
"""

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

from .sign_files import DELETIONS, ENDS, claimed_seconds, read_sign_file
from .writer.manifest import MANIFEST, PACKET_FILES, ROWS, check_content, check_manifest
from .writer.packet import MARKER

__all__ = ["Done", "Loaded", "Packet", "PacketFile", "PacketKey", "load_packet", "look_into", "packet_key", "signs_of_packet"]

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

    def paths(self, kind: str) -> list[Path]:
        """Its files whose name ends so, in their order."""
        return [self.directory / file.name for file in self.files if file.name.endswith(kind)]


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
    """Reads the packet's time, the latest of its files'. Raises CorruptFile, OSError.

    It is good for a first order only: what it says of a file that is broken, or just being written, means nothing.
    """
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
    return _key(packet, seconds)


def _key(packet: Packet, seconds: int) -> PacketKey:
    return seconds, packet.directory.name, packet.shard


@dataclass(frozen=True)
class Loaded:
    """A packet that has been read and checked as a whole. `key` is by the very bytes that the layer was read from."""

    layer: _core.Layer
    key: PacketKey
    non_finite: tuple[tuple[Path, _core.NonFiniteRows], ...]  # of each file with rows


def load_packet(packet: Packet, storage: str, shard: tuple[int, int], *, refuse_non_finite: bool = False) -> Loaded:
    """All that the packet says of the signs that belong to the shard (index, count).

    Raises CorruptFile, OSError: then nothing of it is to be used.

    A packet of our own writer is first held against its manifest; one of Persia's has none. A sign with a row and a deletion in
    one packet ends deleted: files of rows come first, then those of deletions.
    """
    manifest = check_manifest(packet.directory)
    layer = _core.Layer(storage)
    layer.reserve(sum(map(_claimed_rows, packet.paths(ROWS))) // shard[1])
    seconds = 0
    non_finite = []
    for path in packet.paths(ROWS):
        found = _core.NonFiniteRows(refuse_non_finite)
        _rows_of_shard, of_file = layer.load_inc(path, *shard, found)
        check_content(manifest, path, _claimed_rows(path), of_file, path.stat().st_size - 8)
        seconds = max(seconds, of_file)
        non_finite.append((path, found))
    for path in packet.paths(DELETIONS):
        deletions = read_sign_file(path)
        check_content(manifest, path, len(deletions.signs), deletions.unix_seconds, 8)
        layer.delete(deletions.signs, *shard)
        seconds = max(seconds, deletions.unix_seconds)
    for path in packet.paths(ENDS):
        file = read_sign_file(path)
        assert file.ends is not None
        check_content(manifest, path, len(file.signs), file.unix_seconds, 8)
        layer.set_ends(file.signs, file.ends, *shard)
        seconds = max(seconds, file.unix_seconds)
    return Loaded(layer, _key(packet, seconds), tuple(non_finite))


def _claimed_rows(path: Path) -> int:
    """What stands at the file's start, as far as it can be true; whoever reads the rows finds out whether it is."""
    with path.open("rb") as file:
        return min(int.from_bytes(file.read(4), "little"), os.fstat(file.fileno()).st_size // _MIN_ROW)


def signs_of_packet(packet: Packet) -> Iterator[npt.NDArray[np.uint64]]:
    """The signs of which a packet says anything: those of its rows, in blocks, and those that it deletes."""
    for path in packet.paths(DELETIONS):
        yield read_sign_file(path).signs
    for path in packet.paths(ROWS):
        for signs, _dims, _values, _recency in _core.IncReader(path):
            yield signs
