"""Waking a thread, also from a finaliser."""

from __future__ import annotations

from queue import Empty, SimpleQueue

__all__ = ["Bell"]


class Bell:
    """As threading.Event, whose lock may be held by the very thread that the garbage collector interrupts to set it."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        self._rings.put(None)  # reentrant, by its documentation

    def wait(self, seconds: float) -> bool:
        """Whether it was rung, since the last wait that was told so or silence()."""
        try:
            self._rings.get(timeout=seconds)
        except Empty:
            return False
        self.silence()
        return True

    def silence(self) -> None:
        """Forgets that it was rung."""
        try:
            while True:
                self._rings.get_nowait()
        except Empty:
            pass
