"""A process that does not outlive the one that started it, however that one ends."""

from __future__ import annotations

import ctypes
import signal

__all__ = ["end_with_parent"]

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def end_with_parent() -> None:
    """SIGTERM when the thread that started this process ends. As a `preexec_fn`: in the child, before it becomes another."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
