"""A process that does not outlive the one that started it, however that one ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["ends_with_parent"]

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


def ends_with_parent(command: Sequence[str]) -> list[str]:
    """The command, to be started by this process: it gets SIGTERM when the thread that started it ends."""
    return [sys.executable, "-S", "-E", "-c", _PROGRAM, str(os.getpid()), *command]
