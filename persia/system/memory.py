"""How much of the memory that it has freed a process keeps for the next lookup."""

from __future__ import annotations

import ctypes
import os

__all__ = ["keep_freed_memory"]

# glibc gives the memory that a lookup has freed back to the system as soon as it is somewhat more than the largest piece of it,
# and the next lookup gets it page by page again: of 128 samples x 16 ids that was half of a middleware's work. So each
# allocator (one for a few threads) keeps what is below the first one; what is beyond the second one goes back at once.
_KEPT_BYTES = 16 << 20
_ALONE_BYTES = 8 << 20
_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """Up to 16 MiB for each allocator of this process, unless its environment has glibc's own settings for this."""
    if any(name in os.environ for name in _SETTINGS):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_MMAP_THRESHOLD, _ALONE_BYTES)
