"""Connections that belong to one process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from persia.errors import InvalidInput

__all__ = ["PerProcess"]

_T = TypeVar("_T")


class PerProcess(Generic[_T]):
    """Something that is opened when it is first used, so that a process may fork before that."""

    def __init__(self, open_it: Callable[[], _T]) -> None:
        self._open, self._lock = open_it, threading.Lock()
        self._value: _T | None = None
        self._pid = -1
        self._closed = False

    def get(self) -> _T:
        """Raises InvalidInput in a process that was forked off after the first use, and after close()."""
        if self._pid < 0:
            with self._lock:
                if self._pid < 0 and not self._closed:
                    self._value, self._pid = self._open(), os.getpid()
        if self._pid != os.getpid() and not self._closed:
            # The threads that watch servers did not come along.
            raise InvalidInput(
                f"expected a context of this process, {os.getpid()}, got one that was used in process {self._pid} before a "
                "fork: make one in each process"
            )
        value = self._value  # once: it may be closed at any moment
        if value is None:
            raise InvalidInput("the context was closed: make a new one")
        return value

    def close(self, close_it: Callable[[_T], Any]) -> None:
        """Only the process that opened it closes it. Idempotent."""
        with self._lock:
            value, self._value, self._closed = self._value, None, True
        if value is not None and self._pid == os.getpid():
            close_it(value)
