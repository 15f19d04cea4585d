"""A checkpoint that another one is written over, servers of it, and answers that tell from which of the two they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from persia import _core
from persia.batch import IDTypeFeature, PersiaBatch
from persia.config import EmbeddingConfig, SlotConfig
from persia.errors import InvalidInput
from persia.routing.lookup import Lookup
from persia.writers import write_checkpoint

DIM = 8
IDS = 200
OLD, NEW = 1.0, 2.0

CONFIG_TEXT = f"slots_config:\n  item:\n    dim: {DIM}\n"
CONFIG = EmbeddingConfig(slots_config={"item": SlotConfig(dim=DIM)})


def write(directory: Path, value: float) -> Path:
    """A checkpoint of two training shards in which all numbers are `value`; over what is there."""
    signs = np.arange(IDS, dtype=np.uint64) + np.uint64(CONFIG.slots["item"].prefix)
    rows = np.full((IDS, DIM), value, np.float32)
    write_checkpoint(directory, [(signs, rows)], shards=2, files_per_shard=1, overwrite=True)
    return directory


def config_file(directory: Path) -> Path:
    path = directory / "embedding_config.yml"
    path.write_text(CONFIG_TEXT)
    return path


def batch_bytes() -> bytes:
    """Each id once, a sample each, so that every answer has rows of both shards."""
    ids = [np.array([i], np.uint64) for i in range(IDS)]
    return PersiaBatch([IDTypeFeature("item", ids)], requires_grad=False).to_bytes()


BATCH = batch_bytes()


def batch() -> _core.Batch:
    return _core.decode_batch(BATCH)


def source_of(lookup: Lookup) -> float:
    """Of which checkpoint all rows of an answer are. A mixture fails."""
    (tensor,) = lookup.tensors
    values = np.unique(tensor)
    if len(values) != 1 or values[0] not in (OLD, NEW):
        raise InvalidInput(f"an answer with rows of {values}")
    return float(values[0])
