"""Tells the log of clients over REST with which no TLS could be agreed on: each address once for each reason."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

__all__ = ["RefusedClients"]

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_MOST = 1000  # addresses with reasons that are remembered


class RefusedClients:
    """start() and close() once each; a thread looks meanwhile."""

    def __init__(self, sources: Sequence[Callable[[], tuple[list[str], int]]]) -> None:
        """sources: HttpServer.take_refused_clients of each listener."""
        self._sources = sources
        self._logged: OrderedDict[tuple[str, str], None] = OrderedDict()  # the one that came last stands last
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refused-clients", daemon=True)

    def start(self) -> None:
        """Looks from now on."""
        self._thread.start()

    def close(self) -> None:
        """On return nothing is told any more."""
        self._closed.set()
        self._thread.join()

    def look(self) -> None:
        """Tells of those who have come since it was called before."""
        for take in self._sources:
            some, count = take()
            for who_and_why in some:
                self._log_once(*who_and_why.split(": ", 1))
            if count > len(some):
                log.warning("refused %d more clients within a second", count - len(some))

    def _log_once(self, address: str, why: str) -> None:
        case = (address.rpartition(":")[0], why)
        if case not in self._logged:
            log.warning("refused the client %s: %s (told once for its address)", address, why)
        self._logged[case] = None
        self._logged.move_to_end(case)
        if len(self._logged) > _MOST:
            self._logged.popitem(last=False)

    def _run(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            self.look()
