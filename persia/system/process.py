"""A process as the system has it: it ends with the one that started it, and keeps some of the memory that it has freed."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

__all__ = ["ends_with_parent", "keep_freed_memory"]

# In a program of its own that then becomes the command. A `preexec_fn` would make subprocess fork with gRPC's handlers, which
# may wait for ever where gRPC is in use.
_PROGRAM = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(128 + signal.SIGTERM)
os.execvp(sys.argv[2], sys.argv[2:])
"""

# glibc gives the memory that a lookup has freed back to the system as soon as it is somewhat more than the largest piece of it,
# and the next lookup gets it page by page again: of 128 samples x 16 ids that was half of a middleware's work. So each
# allocator (one for a few threads) keeps what is below the first one; what is beyond the second one goes back at once.
_KEPT_BYTES = 16 << 20
_ALONE_BYTES = 8 << 20
_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def ends_with_parent(command: Sequence[str]) -> list[str]:
    """The command, to be started by this process: it gets SIGTERM when the thread that started it ends."""
    return [sys.executable, "-S", "-E", "-c", _PROGRAM, str(os.getpid()), *command]


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
