"""Callers that ask again and again: what they got, and what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from typing_extensions import Self

from tests.support.servers import wait_until

T = TypeVar("T")


class Load(Generic[T]):
    """Threads that make one call after the other until the block is left. Whatever a call raises is among the failures."""

    def __init__(self, call: Callable[[], T], threads: int = 4, pause: float = 0.0) -> None:
        """pause: seconds before each call, where calls without one would keep what they wait for from the processor."""
        self.answers: list[T] = []
        self.failures: list[BaseException] = []
        self._call, self._pause = call, pause
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._done.wait(self._pause):
            try:
                self.answers.append(self._call())
            except BaseException as error:
                self.failures.append(error)

    def wait_for_more(self, count: int = 50) -> None:
        """Until so many more are answered, or one has failed."""
        before = len(self.answers)
        wait_until(lambda: len(self.answers) >= before + count or self.failures, "calls are answered")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
