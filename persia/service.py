"""Where the middleware is, by the names that Persia's handlers use."""

from __future__ import annotations

import os

__all__ = ["get_embedding_worker_services"]

SERVICE_VARIABLE = "EMBEDDING_WORKER_SERVICE"
DEFAULT_SERVICE = "embedding_worker:8887"


def get_embedding_worker_services() -> list[str]:
    """$EMBEDDING_WORKER_SERVICE, else the name that Persia's deployments give it."""
    return [os.environ.get(SERVICE_VARIABLE) or DEFAULT_SERVICE]
