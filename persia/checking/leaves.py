"""What a check borrows from the servers, handlers and clients: each is found by its name, as the launcher finds commands.

A check asks what these would do with the files, so it has to ask them. They are imported when they are needed and never by an
import statement: nothing in `persia` may depend on a leaf.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from persia.errors import PersiaError
from persia.formats.checkpoint import Checkpoint
from persia.formats.layout import PACKET_FILES
from persia.formats.packet import Packet, packet_key

__all__ = [
    "Archive",
    "find_java",
    "load_model_of",
    "open_archive",
    "packets_since",
    "sample_bytes",
    "scores_of",
    "text_model_of",
]

SAMPLES = 4096  # of a file with more, the first ones are the sample

_Arrays = Sequence[npt.NDArray[Any]]


class Archive(Protocol):
    """What stands in a model archive."""

    name: str
    version: str
    handler: str
    model_file: str
    model_bytes: int
    workers: int
    signature: bytes | None
    embedding_config: bytes | None
    drops_extra: bool
    text_mode: str | None


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


def find_java() -> str:
    """The Java that TorchServe would run on. Raises NotFound."""
    java: str = import_module("persia.handlers.java").find_java()
    return java


def open_archive(path: Path) -> Archive:
    """Raises CorruptFile, OSError."""
    archive: Archive = import_module("persia.handlers.archive_contents").open_archive(path)
    return archive


def scores_of(path: Path, dense: _Arrays, embeddings: _Arrays) -> list[npt.NDArray[Any]]:
    """What the model in an archive answers. Needs torch. Raises InvalidInput if it does not load, or refuses the tensors."""
    scores: list[npt.NDArray[Any]] = import_module("persia.handlers.archive_scores").scores_of(path, dense, embeddings)
    return scores


def load_model_of(path: Path) -> None:
    """Loads the model in an archive, and drops it again. Needs torch. Raises InvalidInput if it does not load."""
    import_module("persia.handlers.archive_scores").load_model_of(path)


def text_model_of(path: Path) -> tuple[str, int, int]:
    """Loads the text model in an archive: what it is for, how many labels it has, and how many tokens it takes.

    Needs torch, or what the model is for. Raises PersiaError if it does not load, OSError.
    """
    model = import_module("persia.handlers.text_archive.reading").load_text_model(path)
    return str(model.mode), len(model.labels), int(model.tokenizer.max_length)
