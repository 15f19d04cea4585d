"""The signals that ask a process to end: for servers that finish their calls first, and for launchers that wait for events."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["StopSignal", "events_of_signals", "heeded"]


def heeded(*numbers: signal.Signals) -> tuple[signal.Signals, ...]:
    """Those of the signals that are not ignored. What is ignored, as SIGHUP is under nohup, is to stay so."""
    return tuple(number for number in numbers if signal.getsignal(number) != signal.SIG_IGN)


def events_of_signals() -> SimpleQueue[str]:
    """A queue that gets the name of each SIGTERM, SIGINT and SIGHUP from now on."""
    events: SimpleQueue[str] = SimpleQueue()
    read, numbers = _pipe_of_signals(lambda number, _frame: None)

    def pass_on() -> None:
        while True:
            (number,) = os.read(read, 1)
            if number in numbers:
                events.put(signal.Signals(number).name)

    threading.Thread(target=pass_on, daemon=True).start()
    return events


class StopSignal:
    """The first SIGTERM, SIGINT or SIGHUP asks for a graceful end; a second ends the process at once, with 128 + its number.

    Until serving() is called there is nothing to finish, and the first one ends the process at once, with 0.
    """

    def __init__(self) -> None:
        self._serving = self._asked = False
        self._wake, self._numbers = _pipe_of_signals(self._on_signal)

    def serving(self) -> None:
        """From here on there are calls to finish."""
        self._serving = True

    def wait(self) -> None:
        """Until a graceful end is asked for."""
        while not self.wait_for(None):
            pass

    def wait_for(self, seconds: float | None) -> bool:
        """Waits for so long at most (None: no limit); whether a graceful end is asked for."""
        ready, _, _ = select.select([self._wake], [], [], seconds)
        return bool(ready) and os.read(self._wake, 1)[0] in self._numbers

    def _on_signal(self, number: int, _frame: object) -> None:
        if not self._serving or self._asked:
            os._exit(128 + number if self._asked else 0)
        self._asked = True


def _pipe_of_signals(handler: Callable[[int, object], None]) -> tuple[int, tuple[signal.Signals, ...]]:
    """A file in which each signal leaves its number as it comes, whichever thread it comes to; and the signals that are heeded.

    The handler alone would not do: Python runs it in the main thread only, and does not wake that thread from a lock or a queue
    if the signal came a moment before the thread began to wait.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    numbers = (signal.SIGTERM, signal.SIGINT, *heeded(signal.SIGHUP))
    for number in numbers:
        signal.signal(number, handler)
    return read, numbers
