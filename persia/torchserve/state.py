"""The directory of a TorchServe's launcher: what stands where in it, and how tools on the same machine ask the launcher.

A tool that has changed something asks the launcher to note it, and goes on when it is noted: so what a tool has reported done
outlives a TorchServe that is killed the next moment.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from pathlib import Path

from persia.torchserve.wanted import Wanted, read_wanted

__all__ = ["KEY_FILE", "LOCK_FILE", "MODELS_FILE", "NOTE_SOCKET", "StateDirectory"]

log = logging.getLogger(__name__)

KEY_FILE = "key_file.json"
LOCK_FILE = "torchserve.lock"
MODELS_FILE = "models.json"
NOTE_SOCKET = "launcher.sock"

# For the launcher's look at all models, and its disk.
NOTE_SECONDS = 15.0
_ANSWER_BYTES = 64 << 10


class StateDirectory:
    """The directory in which a key file stands. For tools, which may have a key file that no launcher has made."""

    def __init__(self, key_file: str | os.PathLike[str]) -> None:
        self._path = Path(key_file).parent

    @property
    def is_ours(self) -> bool:
        """Whether it is, or is about to be, that of a TorchServe's launcher."""
        return (self._path / LOCK_FILE).exists()

    def wanted(self) -> Wanted | None:
        """The models that TorchServe is to have; None if that cannot be known here. Raises ConfigError."""
        try:
            return read_wanted(self._path / MODELS_FILE) if self.is_ours else None
        except OSError:
            return None

    def note(self, forget: tuple[str, str] | None = None) -> bool:
        """Waits until the launcher has noted what is registered now. forget: a name and a version that is no longer wanted.

        Whether that version was wanted. That a launcher does not answer is logged, and no error: the change is made.
        """
        if not (self._path / MODELS_FILE).exists() or not self.is_ours:
            return False
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(NOTE_SECONDS)
                connection.connect(str(self._path / NOTE_SOCKET))
                connection.sendall(json.dumps({"forget": forget}).encode() + b"\n")
                connection.shutdown(socket.SHUT_WR)
                answer = json.loads(connection.makefile("rb").read(_ANSWER_BYTES))
                problem, known = answer["problem"], bool(answer["known"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem, known = str(error) or type(error).__name__, False
        if problem:
            log.warning(
                "expected TorchServe's launcher to note the change in %s, got: %s; a restart may undo it: see `manage list`",
                *(self._path / MODELS_FILE, problem),
            )
        return known
