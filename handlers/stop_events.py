"""The signals that ask for a TorchServe's end, as events in a queue."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["events_of_signals", "in_background"]


def events_of_signals() -> SimpleQueue[str]:
    """Of SIGTERM, SIGINT and SIGHUP, by name, from now on."""
    events: SimpleQueue[str] = SimpleQueue()
    # Each signal leaves a byte here as it comes. A handler would not do: Python runs it in the main thread only, and does not
    # wake that from events.get() if the signal came a moment before it began to wait.
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    # What is ignored, as under nohup, stays so.
    hangup = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    numbers = (signal.SIGTERM, signal.SIGINT, *hangup)
    for number in numbers:
        signal.signal(number, lambda number, _: None)

    def pass_on() -> None:
        while True:
            (number,) = os.read(read, 1)
            if number in numbers:
                events.put(signal.Signals(number).name)

    in_background(pass_on)
    return events


def in_background(work: Callable[[], None]) -> None:
    """In a thread that ends with the process."""
    threading.Thread(target=work, daemon=True).start()
