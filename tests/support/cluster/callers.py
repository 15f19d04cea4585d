"""The processes that ask all the time, seen from the run: what happened since the last look."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Callers:
    """Answers as tests.support.cluster.load writes them."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log

    def take(self) -> dict[str, Any]:
        """Everything since the last call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        happened: dict[str, Any] = json.loads(self._line())
        return happened

    def wait_ready(self) -> None:
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self._log} ended:\n{self._log.read_text()[-3000:]}"
        return line


@contextmanager
def callers(module: str, arguments: Sequence[str], log: Path) -> Iterator[Callers]:
    """They ask within the `with`. module: of tests.support.cluster."""
    command = [sys.executable, "-m", f"tests.support.cluster.{module}", *arguments]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    try:
        found = Callers(process, log)
        found.wait_ready()
        yield found
    finally:
        process.kill()
        process.wait()
