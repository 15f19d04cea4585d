"""Being told of new packets: notifications where the disk has them."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

__all__ = ["Watch"]

log = logging.getLogger(__name__)


class Watch:
    """Sets `wake` when something changes below `root`. For one thread."""

    def __init__(self, root: Path, wake: threading.Event) -> None:
        self._root, self._wake = root, wake
        self._observer: BaseObserver | None = None
        self._possible = True  # until the system refuses

    def ensure(self) -> None:
        """Begins as soon as there is such a directory."""
        if not self._possible or self._observer is not None or not self._root.is_dir():
            return
        observer = Observer()
        try:
            observer.schedule(_Wake(self._wake), str(self._root), recursive=True)
            observer.start()
        except OSError as error:
            log.warning("no notifications for %s (%s): it is scanned all the same, a little later", self._root, error)
            self._possible = False
            return
        self._observer = observer

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()


class _Wake(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in ("opened", "closed_no_write"):  # our own reading
            self._wake.set()
