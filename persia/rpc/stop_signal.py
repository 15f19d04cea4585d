"""What a signal asks of a server."""

from __future__ import annotations

import os
import select
import signal

__all__ = ["StopSignal"]


class StopSignal:
    """The first SIGTERM, SIGINT or SIGHUP asks for a graceful end; a second ends the process at once, with 128 + its number.

    Until serving() is called there is nothing to finish, and the first one ends the process at once, with 0.
    """

    def __init__(self) -> None:
        self._serving = self._asked = False
        # Each signal leaves a byte here as it comes, whichever thread it comes to. A lock would not do: Python runs a handler
        # in the main thread only, and does not wake it from a lock if the signal came a moment before it began to wait.
        self._wake, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        # What is ignored, as under nohup, stays so.
        hangup = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
        self._numbers = (signal.SIGTERM, signal.SIGINT, *hangup)
        for number in self._numbers:
            signal.signal(number, self._on_signal)

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
