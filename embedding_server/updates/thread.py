"""When to look for packets: at notifications of the system, and at short intervals where there are none."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from .follower import Follower
from .watch import Watch

__all__ = ["UpdateThread"]

# Disks without notifications, and notifications that were lost, cost at most so long.
RESCAN_SECONDS = 0.2

# As that of the thread that folds layers, and like it on top of the process's own.
UPDATE_NICENESS = 10

# A thread that waits for a store which does not answer is not waited for any longer when the server stops.
STOP_SECONDS = 2.0

# How often packets are looked for that can be deleted.
PRUNE_SECONDS = 60.0


class UpdateThread:
    """Scans a directory of packets from start() to stop()."""

    def __init__(self, updater: Follower, root: Path, pause: float = RESCAN_SECONDS, *, watch: bool = True) -> None:
        """It owns the updater from now on, and closes it.

        pause: seconds between two scans, where nothing is told. watch: whether the system tells of changes below root.
        """
        self.updater = updater
        self._root = root
        self._wake = threading.Event()
        self._pause = pause
        self._watch = Watch(root, self._wake) if watch else None
        self._thread = threading.Thread(target=self._run, name="updates", daemon=True)
        self._prune_at = 0.0

    def __repr__(self) -> str:
        return f"<UpdateThread of {self._root}: {'alive' if self._thread.is_alive() else 'not alive'}, {self.updater!r}>"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.updater.stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(None if self._watch is not None else STOP_SECONDS)
        if self._watch is not None:
            self._watch.stop()
        if not self._thread.is_alive():
            self.updater.close()

    def _run(self) -> None:
        with suppress(OSError):  # a sandbox may forbid it
            # Lookups go first where processors are short: a packet may take a little longer, an answer may not.
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + UPDATE_NICENESS)
        problems = self.updater.problems
        while not self.updater.stopping.is_set():
            try:
                if self._watch is not None:
                    self._watch.ensure()
                self.updater.scan()
                problems.note("scan", None)
                self._prune()
            except Exception as error:
                # Whatever it was, the next packet must not be lost over it.
                traceback = None if isinstance(error, OSError) else error
                problems.note("scan", f"scanning {self._root} failed, trying again: {error!r}", traceback)
            self._wake.wait(self._pause)
            self._wake.clear()

    def _prune(self) -> None:
        if time.monotonic() < self._prune_at:
            return
        if self.updater.prune():
            self._wake.set()
        else:
            self._prune_at = time.monotonic() + PRUNE_SECONDS
