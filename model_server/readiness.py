"""Whether a server is ready: every default version has its workers, and no model is missing that it was to have."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .missing_models import MissingModels
from .registry import Registry

__all__ = ["Readiness", "ReadinessTeller"]

_LOOK_SECONDS = 0.2


class Readiness:
    """`missing`: what the start could not load. Thread safety: any thread may use it."""

    def __init__(self, registry: Registry) -> None:
        self.missing = MissingModels()
        self._registry = registry

    def is_ready(self) -> bool:
        """Whether callers may come."""
        return self._registry.is_ready() and not self.missing.names()


class ReadinessTeller:
    """Has health checks of gRPC told so; a thread looks from start() to close()."""

    def __init__(self, readiness: Readiness, tell: Callable[[bool], None]) -> None:
        self._readiness = readiness
        self._tell = tell
        self._telling = threading.Lock()  # so that an earlier look does not speak last
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)

    def start(self) -> None:
        """Tells from now on."""
        self.tell()
        self._thread.start()

    def tell(self) -> None:
        """Looks and tells at once. For any thread."""
        with self._telling:
            self._tell(self._readiness.is_ready())

    def close(self) -> None:
        """On return nothing is told any more."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            self.tell()
