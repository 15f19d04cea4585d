"""What a check borrows from the servers and clients: each is found by its name, as the launcher finds commands.

A check asks what these would do with the files, so it has to ask them. They are imported when they are needed and never by an
import statement: nothing in `persia` may depend on a leaf.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from persia.errors import PersiaError
from persia.formats.checkpoint import Checkpoint
from persia.formats.layout import PACKET_FILES
from persia.formats.packet import Packet, packet_key

__all__ = [
    "packets_since",
    "sample_bytes",
]

SAMPLES = 4096  # of a file with more, the first ones are the sample


def packets_since(root: Path, checkpoint: Checkpoint | None) -> tuple[list[tuple[Path, ...]], list[str]]:
    """The files of each packet that servers would apply on the checkpoint, in their order; and what is wrong with others.

    Of one packet rows come first, then deletions, then ends, as servers read them. Raises OSError.
    """
    findings = import_module("persia.embedding_server.updates.finder").Finder(root).find()
    problems = [str(error) for _packet, error in findings.unreadable]
    complete: list[Packet] = [packet for packet in findings.packets if packet.files]
    found = []
    for packet in complete:
        try:
            key = packet_key(packet)
        except (PersiaError, OSError) as error:
            problems.append(str(error))
            continue
        if checkpoint is None or not checkpoint.bounds.has(packet.shard, key[0]):
            found.append((key, tuple(path for kind in PACKET_FILES for path in packet.paths(kind))))
    problems += map(str, findings.failures)
    return [files for _, files in sorted(found)], problems


def sample_bytes(path: Path) -> bytes:
    """The first byte batch of a file that `infer` reads. Raises InvalidInput, OSError."""
    batches = import_module("persia.client.inputs").batches_of_file(path, SAMPLES)
    batch: bytes = next(iter(batches))
    return batch
