"""`--start` and `--stop` as `torchserve` has them: a server in the background, and the file by which it is found."""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from persia.errors import Unavailable
from persia.system.lock import lock_file

__all__ = ["Background", "report", "stop_server"]

STOP_SECONDS = 60.0


def _pid_file() -> Path:
    return Path(tempfile.gettempdir(), f".persia_model_server.{os.getuid()}.pid")


def _numbering() -> str:
    """Where numbers of processes are those of this process: a container has its own."""
    return os.readlink("/proc/self/ns/pid")


class _Noted(NamedTuple):
    pid: int  # 0: not yet
    numbering: str  # empty: an older release has not said it


def _noted() -> _Noted:
    """Raises OSError."""
    pid, _, numbering = _pid_file().read_text().partition(" ")
    return _Noted(int(pid or 0), numbering)


class Background:
    """The right to be the one server that `--start` has started. It ends with the process."""

    def __init__(self) -> None:
        """Raises Unavailable if there is one already, OSError."""
        self._lock = lock_file(_pid_file())
        if self._lock is None:
            raise Unavailable(
                f"a model server is already running, process {_noted().pid or 'unknown'} by {_pid_file()}: "
                "`persia-launcher model-server --stop` ends it"
            )
        os.ftruncate(self._lock, 0)  # whoever it named has ended

    def detach(self) -> int | None:
        """Goes on in a new process, in the background, and returns there where to report().

        In the old process it returns None when the new one has reported, and ends the old one if the new one ends instead.
        """
        reading_end, ready_pipe = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading_end)
            os.setsid()
            return ready_pipe
        os.close(ready_pipe)
        started = os.read(reading_end, 1)
        os.close(reading_end)
        if not started:
            _, status = os.waitpid(pid, 0)
            sys.exit(os.waitstatus_to_exitcode(status) or 1)
        return None

    def note(self) -> None:
        """Writes which process it is."""
        assert self._lock is not None
        os.pwrite(self._lock, f"{os.getpid()} {_numbering()}".encode(), 0)


def report(ready_pipe: int, output: Path) -> None:
    """The server listens. What is said from now on goes to a file: whoever reads what the old process says reads to its end.

    Raises OSError.
    """
    sys.stdout.flush()
    nothing, file = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for opened, streams in ((nothing, (0,)), (file, (1, 2))):
        for stream in streams:
            os.dup2(opened, stream)
        os.close(opened)
    os.write(ready_pipe, b"1")
    os.close(ready_pipe)


def stop_server(waits: bool) -> str:
    """Asks the server that `--start` has started to end; the sentence to print. Raises Unavailable, OSError."""
    path = _pid_file()
    unlocked = lock_file(path)
    if unlocked is not None:
        os.close(unlocked)
        return f"The model server is not running: {path} names none. With --start one is there for each user and TMPDIR."
    pid, numbering = _noted()
    if numbering not in ("", _numbering()):
        raise Unavailable(f"the model server of {path} is process {pid} of another container: stop it there")
    if pid == 0:
        raise Unavailable("the model server is about to start: try again when it has said that it is started")
    process = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if waits and not select.select([process], [], [], STOP_SECONDS)[0]:
            raise Unavailable(f"the model server, process {pid}, has not ended within {STOP_SECONDS:.0f} s")
    finally:
        os.close(process)
    return "The model server has stopped." if waits else "The model server stops."
