"""What a check borrows from the servers and clients: each is found by its name, as the launcher finds commands.

A check asks what these would do with the files, so it has to ask them. They are imported when they are needed and never by an
import statement: nothing in `persia` may depend on a leaf.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from persia.errors import PersiaError

__all__ = [
    "Bounds",
    "Checkpoint",
    "Gone",
    "Packet",
    "gone_signs",
    "is_sign_file",
    "open_checkpoint",
    "packets_since",
    "sample_bytes",
]

SAMPLES = 4096  # of a file with more, the first ones are the sample


class Marker(Protocol):
    """The marker of a checkpoint."""

    num_shards: int
    seconds: int


class Bounds(Protocol):
    """Which packets a checkpoint has."""

    def has(self, shard: int, seconds: int) -> bool: ...


class Checkpoint(Protocol):
    """A complete checkpoint, as an embedding server opens it. `ends`: when rows of its files end."""

    directory: Path
    marker: Marker
    files: tuple[Path, ...]
    ends: tuple[Path, ...]
    bounds: Bounds


class Packet(Protocol):
    """A complete packet, as an embedding server looks at it."""

    directory: Path
    shard: int

    def paths(self, kind: str) -> list[Path]: ...


def open_checkpoint(directory: Path, index: int, count: int) -> Checkpoint:
    """As an embedding server does before it loads. Raises CorruptFile, OSError."""
    checkpoint: Checkpoint = import_module("persia.embedding_server.checkpoint").open_checkpoint(directory, index, count)
    return checkpoint


def packets_since(root: Path, checkpoint: Checkpoint | None) -> tuple[list[tuple[Path, ...]], list[str]]:
    """The files of each packet that servers would apply on the checkpoint, in their order; and what is wrong with others.

    Of one packet rows come first, then deletions, then ends, as servers read them. Raises OSError.
    """
    packets = import_module("persia.embedding_server.packets")
    manifest = import_module("persia.embedding_server.writer.manifest")
    finder = import_module("persia.embedding_server.finding").Finder(root)
    problems: list[str] = []
    found = []

    def refuse(_packet: Packet, error: Exception) -> None:
        problems.append(str(error))

    for packet in finder.find(lambda _directory: False, refuse):
        try:
            key = packets.packet_key(packet)
        except (PersiaError, OSError) as error:
            refuse(packet, error)
            continue
        if checkpoint is None or not checkpoint.bounds.has(packet.shard, key[0]):
            found.append((key, tuple(path for kind in manifest.PACKET_FILES for path in packet.paths(kind))))
    problems += map(str, finder.failures)
    return [files for _, files in sorted(found)], problems


class Gone(NamedTuple):
    """`signs` (n) that lose their rows: by a deletion, or `by_ends` those among the rows that the file lies beside."""

    signs: npt.NDArray[np.uint64]
    by_ends: bool


def is_sign_file(path: Path) -> bool:
    """Whether it is a file of deletions or of ends, by its name."""
    files = import_module("persia.embedding_server.sign_files")
    return path.suffix in (files.DELETIONS, files.ENDS)


def gone_signs(path: Path, now: float) -> Gone:
    """What such a file names as deleted, or as ended by `now`. Raises CorruptFile, OSError."""
    file = import_module("persia.embedding_server.sign_files").read_sign_file(path)
    return Gone(file.signs, False) if file.ends is None else Gone(file.signs[file.ends <= np.uint64(now)], True)


def sample_bytes(path: Path) -> bytes:
    """The first byte batch of a file that `infer` reads. Raises InvalidInput, OSError."""
    batches = import_module("persia.client.inputs").batches_of_file(path, SAMPLES)
    batch: bytes = next(iter(batches))
    return batch
