"""What the native planner needs to know of an embedding config."""

from __future__ import annotations

from persia._core import Slot, Slots
from persia.config import EmbeddingConfig

__all__ = ["make_slots"]


def make_slots(config: EmbeddingConfig) -> Slots:
    """The slots of a config in the form that persia._core.make_plan takes. Build it once and use it for every batch."""
    slots = [
        Slot(
            slot.name,
            slot.dim,
            sample_fixed_size=slot.sample_fixed_size,
            summation=slot.embedding_summation,
            sqrt_scaling=slot.sqrt_scaling,
            mean=slot.pooling == "mean",
            weighted=slot.weighted,
            keep_last=slot.keep == "last",
            hash_stack_rounds=slot.hash_stack_rounds,
            hash_stack_size=slot.hash_stack_size,
            prefix=slot.prefix,
            f32=slot.output == "f32",
            modulo=slot.modulo,
            ids_are_signs=slot.ids_are_signs,
            default_value=slot.default_value,
            default_id=slot.default_id,
            keep_all=slot.keep == "all",
        )
        for slot in config.slots.values()
    ]
    return Slots(slots, config.feature_index_prefix_bit)
