"""A thread that has certificates and tokens read again when their files change."""

from __future__ import annotations

import logging
import threading

from persia.security.ends import SecurityFiles

__all__ = ["Refreshing"]

log = logging.getLogger(__name__)

_SECONDS = 1.0


class Refreshing:
    """start() and close() once each. What is wrong with a file is logged once, and that it is right again."""

    def __init__(self, files: SecurityFiles, seconds: float = _SECONDS) -> None:
        """seconds: between two looks."""
        self._files, self._seconds = files, seconds
        self._problems: list[str] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="security-files", daemon=True)

    def start(self) -> None:
        self.look()
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._seconds):
            self.look()

    def look(self) -> None:
        """Reads again what has changed: for those who have a thread of their own that comes by."""
        problems = self._files.refresh()
        for problem in problems:
            if problem not in self._problems:
                log.error("%s", problem)
        if self._problems and not problems:
            log.info("the files of the section `security` are right again")
        self._problems = problems
