"""What the native planner needs to know of an embedding config."""

from __future__ import annotations

from persia._core import Slots
from persia.config import EmbeddingConfig


def make_slots(config: EmbeddingConfig) -> Slots:
    """The slots of a config in the form that persia._core.make_plan takes. Build it once and use it for every batch."""
    slots = [
        (
            slot.name,
            slot.dim,
            slot.sample_fixed_size,
            slot.embedding_summation,
            slot.sqrt_scaling,
            slot.hash_stack_rounds,
            slot.hash_stack_size,
            slot.prefix,
        )
        for slot in config.slots.values()
    ]
    more = [(slot.pooling == "mean", slot.weighted, slot.keep == "last") for slot in config.slots.values()]
    return Slots(slots, config.feature_index_prefix_bit, more)
