"""What the native planner needs to know of an embedding config."""

from __future__ import annotations

from typing import NamedTuple

from persia._core import Slots
from persia.config import EmbeddingConfig

__all__ = ["make_slots"]


class _Slot(NamedTuple):
    """In the order in which persia._core.Slots takes it."""

    name: str
    dim: int
    sample_fixed_size: int
    summation: bool
    sqrt_scaling: bool
    hash_stack_rounds: int
    hash_stack_size: int
    prefix: int


class _Pooling(NamedTuple):
    """As _Slot, what came later."""

    mean: bool
    weighted: bool
    keep_last: bool


def make_slots(config: EmbeddingConfig) -> Slots:
    """The slots of a config in the form that persia._core.make_plan takes. Build it once and use it for every batch."""
    slots = [
        _Slot(
            name=slot.name,
            dim=slot.dim,
            sample_fixed_size=slot.sample_fixed_size,
            summation=slot.embedding_summation,
            sqrt_scaling=slot.sqrt_scaling,
            hash_stack_rounds=slot.hash_stack_rounds,
            hash_stack_size=slot.hash_stack_size,
            prefix=slot.prefix,
        )
        for slot in config.slots.values()
    ]
    pooling = [
        _Pooling(mean=slot.pooling == "mean", weighted=slot.weighted, keep_last=slot.keep == "last")
        for slot in config.slots.values()
    ]
    return Slots(slots, config.feature_index_prefix_bit, pooling)
