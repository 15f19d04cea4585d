"""Keeping a journal beside the work: what cannot be written is a problem that is told, and keeps no row from being served."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Literal

from persia.errors import CorruptFile
from persia.formats.bounds import Bounds

from .journal import Entry, Journal, State
from .ledger import Ledger, Settled
from .problems import Problems

__all__ = ["JournalKeeper"]

log = logging.getLogger(__name__)


class JournalKeeper:
    """For one thread."""

    def __init__(self, journal: Journal, bounds: Bounds, problems: Problems) -> None:
        """bounds: which packets the table's checkpoint has."""
        self._journal, self._bounds, self._problems = journal, bounds, problems
        self._forgotten = 0  # packets, since the journal was compacted

    def say(self, server: Literal["running", "stopped"]) -> None:
        """Notes what the server does from now on."""
        self._try(partial(self._journal.say, State.with_bounds(server, self._bounds)))

    def say_bounds(self, bounds: Bounds) -> None:
        """The table has another checkpoint."""
        self._bounds = bounds
        self.say("running")

    def append(self, settled: Settled) -> None:
        """Notes a packet that was applied."""
        assert settled.version is not None
        packet = settled.packet
        files = [file.name for file in packet.files]
        self._try(partial(self._journal.append, Entry(packet.name, settled.seconds, files, settled.changes, settled.version)))

    def warn_of_gone(self, ledger: Ledger) -> None:
        """Names the packets that an earlier run applied and that are neither here nor in the checkpoint; once."""
        here = ledger.names_here()
        for entry in {entry.packet: entry for entry in self._journal.entries}.values():
            if entry.packet not in here and not self._bounds.has_packet(entry.packet, entry.seconds):
                log.warning("packet %s was applied by an earlier run and is gone: its rows are missing", entry.packet)
        self._journal.entries.clear()

    def forgot(self, packets: int, ledger: Ledger) -> None:
        """So many packets are gone from the ledger: when they are many, the journal forgets them as well."""
        self._forgotten += packets
        if packets and self._forgotten > self._journal.compact_after + len(ledger.applied):
            self.compact(ledger)

    def compact(self, ledger: Ledger) -> None:
        self._forgotten = 0
        try:
            self._journal.compact(ledger.names_here())
            self._problems.note("compacting", None)
        except (CorruptFile, OSError) as error:
            self._problems.note("compacting", f"{self._journal.path} stays longer than it need be: {error}")

    def close(self) -> None:
        """Notes that the server has stopped."""
        self.say("stopped")
        self._journal.close()

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
            self._problems.note("journal", None)
        except OSError as error:
            # A disk that is full or read-only must not keep rows from being served, which a restart finds without it.
            self._problems.note("journal", f"packets are applied, but not noted in {self._journal.path}: {error}")
