"""What both ends of a call have to agree on: the paths of the calls between our processes, and how large messages may be."""

from __future__ import annotations

__all__ = ["DIRECTIONS", "FORWARD", "HEALTH_CHECK", "LOOKUP", "MAX_MESSAGE_BYTES", "MIDDLEWARE_STATUS", "SHARD_STATUS"]

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
LOOKUP = "/persia.v1.EmbeddingServer/Lookup"
SHARD_STATUS = "/persia.v1.EmbeddingServer/Status"
FORWARD = "/persia.v1.Middleware/Forward"
MIDDLEWARE_STATUS = "/persia.v1.Middleware/Status"
DIRECTIONS = "/persia.v1.Middleware/Directions"

# gRPC's own 4 MiB end at some 5,000 ids of 26 features; 256 MiB are 16 million ids, and bound what one call can make us hold.
MAX_MESSAGE_BYTES = 256 << 20
