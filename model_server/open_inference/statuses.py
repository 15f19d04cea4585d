"""HTTP's statuses for errors, of which the native core makes gRPC's codes."""

from __future__ import annotations

from persia.errors import PersiaError

from .handlers import HandlerRefusal

__all__ = ["status_of"]

_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 412,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def status_of(error: PersiaError) -> int:
    """500 for what the caller cannot change."""
    return error.status if isinstance(error, HandlerRefusal) else _STATUSES.get(error.code, 500)
