"""One process of a deployment: it is awaited, started again when it dies, and stopped."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from persia.errors import Unavailable
from persia.system.process import ends_with_parent

__all__ = ["Child", "Interrupted"]

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.02
# What is waited before a process that died is started again: doubled each time that it dies soon.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_LONG_LIFE = 60.0
_SHOWN_LINES = 15


class Interrupted(Exception):
    """Somebody asked for the end while something was being started."""


class Child:
    """`is_ready` is asked while it starts; what the process says goes to a log file. For one thread."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log_path: Path,
        is_ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts nothing yet."""
        self.name, self.log_path = name, log_path
        self._command, self._is_ready = list(command), is_ready
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begin = 0
        self._started = self._again_at = 0.0
        self._wait = _FIRST_WAIT
        self._comes_back = False

    def start(self) -> None:
        """Returns at once."""
        with self.log_path.open("ab") as file:
            self._log_begin = file.tell()
            # A group of its own: a Ctrl-C on the terminal is ours to hand on, in order.
            self._process = subprocess.Popen(
                # It would keep its port from the next start, and nobody would watch it.
                ends_with_parent(self._command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self._environment,
                start_new_session=True,
            )
        self._started = time.monotonic()

    def wait_ready(self, seconds: float, pause: Callable[[float], bool]) -> None:
        """pause: sleeps for so many seconds, and says whether to give up.

        Raises:
            Interrupted: pause said so.
            Unavailable: The process has ended, or the time is over. With the end of its log.
        """
        end = time.monotonic() + seconds
        while not self._is_ready():
            code = self._process.poll() if self._process is not None else None
            if code is not None:
                raise Unavailable(f"{self.name} ended with {code}; {self.log_path} ends with:\n{self.last_lines()}")
            if time.monotonic() >= end:
                raise Unavailable(f"{self.name} was not ready after {seconds:.0f} s; {self.log_path}:\n{self.last_lines()}")
            if pause(_LOOK_SECONDS):
                raise Interrupted

    def watch(self) -> bool:
        """Starts the process again if it has ended. To be called now and then. Whether it has just become ready again."""
        now = time.monotonic()
        if self._process is None:
            return False
        if self._process.poll() is None:
            back = self._comes_back and self._is_ready()
            self._comes_back = self._comes_back and not back
            return back
        if not self._again_at:
            self._wait = _FIRST_WAIT if now - self._started > _LONG_LIFE else min(2 * self._wait, _LONGEST_WAIT)
            self._again_at = now + self._wait
            code = self._process.returncode
            log.error("%s ended with %d, starts again in %.1f s: see %s", self.name, code, self._wait, self.log_path)
        elif now >= self._again_at:
            self._again_at, self._comes_back = 0.0, True
            self.start()
        return False

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self, seconds: float) -> int | None:
        """Asks it to end, for so long; then ends it and all of its group. Returns its exit code, None if it never ran."""
        if self._process is None:
            return None
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.error("%s did not end within %.0f s: killed", self.name, seconds)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        return self._process.returncode

    def said(self) -> str:
        """What it has logged since it was started last, whole lines only."""
        with self.log_path.open("rb") as file:
            file.seek(self._log_begin)
            text = file.read()
        return text[: text.rfind(b"\n") + 1].decode(errors="replace")

    def last_lines(self) -> str:
        return "\n".join(self.said().splitlines()[-_SHOWN_LINES:])
