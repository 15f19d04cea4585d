"""From a batch of ids to tensors: plan the requests of all shards, and assemble their answers."""

from persia.routing.slots import make_slots

__all__ = ["make_slots"]
