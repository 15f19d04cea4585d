"""The paths of the calls between our processes."""

from __future__ import annotations

__all__ = ["DIRECTIONS", "FORWARD", "HEALTH_CHECK", "LOOKUP", "MIDDLEWARE_STATUS", "SHARD_STATUS"]

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
LOOKUP = "/persia.v1.EmbeddingServer/Lookup"
SHARD_STATUS = "/persia.v1.EmbeddingServer/Status"
FORWARD = "/persia.v1.Middleware/Forward"
MIDDLEWARE_STATUS = "/persia.v1.Middleware/Status"
DIRECTIONS = "/persia.v1.Middleware/Directions"
