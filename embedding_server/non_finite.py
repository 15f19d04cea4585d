"""Rows with a NaN or an infinite number: counted, and named in the log once for each file."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from persia import _core

__all__ = ["NonFiniteTally"]

log = logging.getLogger(__name__)


class NonFiniteTally:
    """Any thread may use it."""

    def __init__(self, refuse: bool = False) -> None:
        """refuse: the first such row is a CorruptFile of whoever loads its file."""
        self.refuse = refuse
        self.rows = 0  # of this shard, since the start
        self._lock = threading.Lock()

    def finder(self) -> _core.NonFiniteRows:
        """For one file."""
        return _core.NonFiniteRows(self.refuse)

    def note(self, path: Path, found: _core.NonFiniteRows) -> None:
        """What was found in a file that is loaded."""
        if not found.rows:
            return
        log.warning(
            "%s has %d rows with NaN or infinite numbers, the first of sign %d at byte %d: a score that uses one is worthless; "
            "`non_finite_rows: refuse` in the global config refuses such files",
            path,
            found.rows,
            found.first_sign,
            found.first_byte,
        )
        with self._lock:
            self.rows += found.kept
