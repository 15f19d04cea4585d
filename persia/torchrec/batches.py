"""A KeyedJaggedTensor as a batch of ours."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import torch

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.errors import FeatureError, InvalidInput

__all__ = ["batch_from_kjt"]


def batch_from_kjt(
    kjt: Any,
    dense: Mapping[str, torch.Tensor] | None = None,
    *,
    features: Mapping[str, str] | None = None,
    weighted: Container[str] | None = None,
    max_length: Mapping[str, int] | None = None,
) -> PersiaBatch:
    """The ids of a KeyedJaggedTensor, with their weights if it has any, and dense tensors by name.

    Args:
        kjt: The same that the model takes. Negative ids are the same 64 bits without a sign, as in an import.
        dense: Dense tensors (batch, ...).
        features: By the name of each slot, the key that has its ids, such as Split.features; None: each key is a slot.
        weighted: The slots whose ids have weights, as the embedding config says; None: all, if the KeyedJaggedTensor has any.

        max_length: By the names of slots, how many ids a sample may have; of others, servers know it.

    Raises InvalidInput if a key is missing, or if the keys have batches of different sizes; FeatureError for a sample with too
    many ids, and as IDTypeFeature.
    """
    tensors = kjt.to_dict()
    slots = features or {key: key for key in kjt.keys()}  # noqa: SIM118  # it is no mapping
    missing = sorted(set(slots.values()) - set(tensors))
    if missing:
        raise InvalidInput(f"expected the KeyedJaggedTensor to have the key `{missing[0]}`, it has {', '.join(tensors)}")
    return PersiaBatch(
        [
            _feature(name, tensors[key], weighted is None or name in weighted, (max_length or {}).get(name))
            for name, key in slots.items()
        ],
        [NonIDTypeFeature(tensor.detach().cpu().numpy(), name=name) for name, tensor in (dense or {}).items()],
        requires_grad=False,
    )


def _feature(name: str, jagged: Any, weighted: bool, max_length: int | None) -> IDTypeFeature:
    values = jagged.values().detach().cpu().numpy()
    if values.dtype.kind not in "iu":
        raise InvalidInput(f"feature `{name}`: expected ids to be integers, got {values.dtype}")
    lengths = jagged.lengths().cpu().numpy()
    if max_length is not None and len(lengths) and lengths.max() > max_length:
        raise FeatureError(name, f"sample {lengths.argmax()} has {lengths.max()} ids, and may have {max_length} (max_length)")
    weights = jagged.weights_or_none() if weighted else None
    return IDTypeFeature(
        name,
        values.astype(np.int64, copy=False).view(np.uint64),
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        weights=None if weights is None else weights.detach().cpu().numpy(),
    )
