"""A Finder of packets that are in a store: before each look, what is new there is fetched."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from .finder import Finder, Findings
from .mirror import Mirror

__all__ = ["MirroredFinder"]


class MirroredFinder(Finder):
    """For one thread."""

    def __init__(self, mirror: Mirror, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """root: the mirror's."""
        super().__init__(root, clock)
        self._mirror = mirror

    def find(self) -> Findings:
        """As a Finder; that the store cannot be read is one of the failures."""
        failures: list[OSError] = []
        try:
            self._mirror.refresh()
        except OSError as error:
            failures.append(error)
        findings = super().find()
        findings.failures += failures
        return findings
