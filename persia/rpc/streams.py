"""The open streams of a server: how many there may be, and how they end when the server does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from persia.errors import TooLarge, Unavailable

__all__ = ["OpenStreams"]


class _Stream:
    """One stream's requests, up to the one that is answered last.

    Its own thread takes requests; any thread may drain. `end` is called once: as soon as nothing is to be answered any more.
    """

    def __init__(self, requests: Iterator[Any], end: Callable[[], None]) -> None:
        self._requests, self._end = requests, end
        self._lock = threading.Lock()
        self._waiting = self._draining = self._ended = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._lock:
            if self._draining:
                raise StopIteration
            self._waiting = True
        try:
            request = next(self._requests)
        finally:
            with self._lock:
                self._waiting = False
                ended = self._ended
        if ended:  # it came when the stream had just been ended
            raise StopIteration
        return request

    def drain(self) -> None:
        with self._lock:
            self._draining = True
            if not self._waiting:
                return
            self._ended = True
        self._end()

    def finish(self) -> None:
        """All is answered that was taken."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._end()


class OpenStreams:
    """All methods may be called by any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._streams: set[_Stream] = set()
        self._draining = False

    @contextmanager
    def open(self, requests: Iterator[Any], end: Callable[[], None]) -> Iterator[Iterator[Any]]:
        """The requests to answer. They stop when the client has no more, or the server drains; then end() is called.

        It is not called when the block raises. Raises TooLarge, Unavailable.
        """
        stream = _Stream(requests, end)
        with self._lock:
            if self._draining:
                raise Unavailable("expected a server that takes streams, got one that is stopping")
            if len(self._streams) >= self._limit:
                raise TooLarge(f"expected at most {self._limit} open streams, got one more")
            self._streams.add(stream)
        try:
            yield stream
            stream.finish()
        finally:
            with self._lock:
                self._streams.remove(stream)

    def drain(self) -> None:
        """Ends those that wait for a request now, and the others when they have answered theirs."""
        with self._lock:
            self._draining = True
            streams = list(self._streams)
        for stream in streams:
            stream.drain()
