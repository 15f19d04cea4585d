"""The two calls that serve lookups, as they are made over gRPC and in frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from persia.v1 import embedding_pb2, middleware_pb2

__all__ = ["FORWARD", "LOOKUP", "Method"]


@dataclass(frozen=True)
class Method:
    """A call whose messages have bulk columns: fields of type `bytes` that stand before the message in a frame."""

    path: str  # of the gRPC method
    request: Any
    request_columns: tuple[str, ...]
    response: Any  # with a field `error`
    response_columns: tuple[str, ...]


LOOKUP = Method(
    "/persia.v1.EmbeddingServer/Lookup",
    embedding_pb2.LookupRequest,
    # From the widest items to the narrowest: so each column is aligned for its own.
    ("parts", "signs", "sum_counts", "sum_samples"),
    embedding_pb2.LookupResponse,
    ("numbers",),
)
FORWARD = Method(
    "/persia.v1.Middleware/Forward",
    middleware_pb2.ForwardRequest,
    ("batch", "ids"),
    middleware_pb2.ForwardResponse,
    ("tensors", "shapes"),
)
