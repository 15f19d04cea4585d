"""Of a batch that was merged from several: what of its lookup is whose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.routing.lookup import FEATURE_NUMBERS, SHAPE_NUMBERS, Lookup

__all__ = ["joined_shapes", "part_of", "shapes_of"]

_SAMPLES = 0  # the first number of a shape
_ABSENT, _WRONG_DIM = 1, 2  # of a feature's numbers


def joined_shapes(shapes: npt.NDArray[np.uint32], requests: int) -> npt.NDArray[np.uint32]:
    """Of the tensors that all batches have together. shapes: as the lookup has them, for each feature those of each batch."""
    if requests == 1:
        return shapes
    each = shapes.reshape(-1, requests, SHAPE_NUMBERS)
    joined = each[:, 0].copy()
    joined[:, _SAMPLES] = each[:, :, _SAMPLES].sum(1)
    return joined.reshape(-1)


def shapes_of(shapes: npt.NDArray[np.uint32], requests: int, request: int) -> npt.NDArray[np.uint32]:
    """Those of one batch, as a lookup of it alone would have them."""
    return shapes.reshape(-1, requests, SHAPE_NUMBERS)[:, request].reshape(-1)


def part_of(lookup: Lookup, batches: Sequence[_core.Batch], request: int) -> Lookup:
    """What a lookup of one batch alone would have given. batches: that were merged for this lookup."""
    requests = len(batches)
    mine = lookup.placed[request::requests]
    mine.sort(key=lambda tensor: tensor.begin)  # those of float32 come first
    numbers = [lookup.numbers[tensor.begin : tensor.end] for tensor in mine]
    counts = lookup.counts.reshape(-1, requests, FEATURE_NUMBERS)[:, request]
    return Lookup(
        numbers=np.concatenate(numbers),
        shapes=shapes_of(lookup.shapes, requests, request),
        versions=lookup.versions,
        absent=int(counts[:, _ABSENT].sum()),
        wrong_dim=int(counts[:, _WRONG_DIM].sum()),
        missing_shards=lookup.missing_shards,
        rpc_seconds=lookup.rpc_seconds,
        batch=batches[request],
        counts=counts.reshape(-1),
        checkpoint_id=lookup.checkpoint_id,
        embedding_config_id=lookup.embedding_config_id,
        epoch=lookup.epoch,
        variant=lookup.variant,
    )
