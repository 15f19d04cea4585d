"""The limits of a message, for those who send it and those who take it."""

from __future__ import annotations

__all__ = ["MAX_MESSAGE_BYTES"]

# gRPC's own 4 MiB end at some 5,000 ids of 26 features; 256 MiB are 16 million ids, and bound what one call can make us hold.
MAX_MESSAGE_BYTES = 256 << 20
