"""Packets as they come: each complete one is applied for itself, in the order of their times."""

from __future__ import annotations

import logging
import time

from persia.errors import PersiaError
from persia.formats.bounds import Bounds
from persia.formats.packet import Packet

from .applier import Applier
from .finder import Finder
from .follower import Follower
from .journal import Journal
from .ledger import Settled, Status
from .pruning import Pruner

__all__ = ["Updater"]

log = logging.getLogger(__name__)


class Updater(Follower):
    """For a server without epochs."""

    def __init__(
        self, applier: Applier, finder: Finder, journal: Journal, bounds: Bounds, pruner: Pruner | None = None
    ) -> None:
        """As a Follower."""
        super().__init__(finder, journal, bounds, pruner)
        self._applier = applier

    def take(self, packets: list[Packet]) -> None:
        """Applies every complete packet that is new or has new files."""
        for packet in packets:
            if self.stopping.is_set():
                return
            self._apply(packet)

    def _apply(self, packet: Packet) -> None:
        try:
            settled = self._applier.apply(packet, self.ledger)
        except (PersiaError, OSError, MemoryError) as error:
            self._refuse(packet, error)
            return
        if settled.status is Status.OLD:
            self._pass_over(settled)
            return
        self._note(settled)  # before it is counted: who waits for the count finds the packet no longer set aside
        self._count(settled)

    def _count(self, settled: Settled) -> None:
        delay = max(0.0, time.time() - settled.seconds)
        self.delays.observe(delay)
        self.packets_applied += 1
        log.info(
            "packet %s: %d rows, version %d, %.3f s after it was written",
            settled.packet.name,
            settled.changes,
            settled.version,
            delay,
        )
