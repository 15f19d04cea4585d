"""From a batch of ids to tensors. `connect` finds out who answers lookups at some addresses.

lookup        what a lookup gives, and `Lookups`: whoever answers lookups
router        asks the embedding servers: `shards` are whom it asks, `checkpoint_choice` which checkpoint counts
forwarded     asks a middleware, which has a router of its own
bypass        asks the embedding servers that a middleware names (`topology`), else the middleware
slots         what the native planner needs to know of an embedding config
"""

from persia.routing.connecting import connect
from persia.routing.lookup import Lookup, Lookups, RouterOptions
from persia.routing.slots import make_slots

__all__ = ["Lookup", "Lookups", "RouterOptions", "connect", "make_slots"]
