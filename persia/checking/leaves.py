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

__all__ = [
    "Archive",
    "Checkpoint",
    "find_java",
    "load_model_of",
    "open_archive",
    "open_checkpoint",
    "sample_bytes",
    "scores_of",
]

SAMPLES = 4096  # of a file with more, the first ones are the sample

_Arrays = Sequence[npt.NDArray[Any]]


class Marker(Protocol):
    """The marker of a checkpoint."""

    num_shards: int
    seconds: int


class Checkpoint(Protocol):
    """A complete checkpoint, as an embedding server opens it."""

    directory: Path
    marker: Marker
    files: tuple[Path, ...]


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


def open_checkpoint(directory: Path, index: int, count: int) -> Checkpoint:
    """As an embedding server does before it loads. Raises CorruptFile, OSError."""
    checkpoint: Checkpoint = import_module("persia.embedding_server.checkpoint").open_checkpoint(directory, index, count)
    return checkpoint


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
