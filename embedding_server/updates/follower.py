"""What all have in common who follow a directory of packets: find -> decide -> apply -> note in the journal."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from persia.errors import CorruptFile
from persia.formats.bounds import Bounds
from persia.formats.packet import Packet, packet_key

from .delays import Delays
from .finder import Finder
from .journal import Journal
from .journal_keeper import JournalKeeper
from .ledger import Ledger, Settled, Status
from .problems import Problems
from .pruning import Pruner

__all__ = ["EpochFacts", "Follower"]

log = logging.getLogger(__name__)

# So many packets are deleted before new ones are looked for again.
PRUNE_AT_ONCE = 500


@dataclass(frozen=True)
class EpochFacts:
    """Of a server that follows epochs."""

    newest: int = 0  # that is committed
    stalled: str = ""  # why it is not served; empty: it is, or soon will be
    stalled_seconds: float = 0.0
    held: bool = False  # packets wait until somebody commits them
    waiting: int = 0  # packets that no epoch has
    variants: tuple[str, ...] = ()  # of the newest one
    names_checkpoints: bool = False  # some record names a checkpoint


class Follower:
    """Owns the packets of one table. Methods are for one thread at a time; attributes that are counted or told, for any."""

    def __init__(self, finder: Finder, journal: Journal, bounds: Bounds, pruner: Pruner | None = None) -> None:
        """bounds: which packets the table's checkpoint has; pruner: None if no packet is to be deleted."""
        self._finder, self._pruner = finder, pruner
        self.ledger = Ledger(bounds, {entry.packet: set(entry.files) for entry in journal.entries})
        self.problems = Problems(log)
        self._keeper = JournalKeeper(journal, bounds, self.problems)
        self._pruning: Iterator[Path] | None = None
        self.stopping = threading.Event()  # a scan ends after the packet that it is at
        self.packets_applied = 0  # since the start
        self.last_packet = ""  # the newest of them
        self._has_caught_up = False
        self.delays = Delays()  # from a packet's time to its rows' service, of packets that came while it served

    def __repr__(self) -> str:
        told = f"{self.packets_applied} packets applied, {self.ledger!r}, problems {self.problems.texts()}"
        return f"<{type(self).__name__}: {told}>"

    def take(self, packets: list[Packet]) -> None:
        """What was found that is not settled, the oldest first; called in each scan."""
        raise NotImplementedError

    def epochs(self) -> EpochFacts | None:
        """None: it follows packets without epochs. For any thread."""
        return None

    def catch_up(self) -> None:
        """Applies all that is there, before the server is ready; says which packets of the journal are gone."""
        self._keeper.say("running")
        self.scan()
        self.scan()  # the rest of packets of which there was only a part when an earlier run applied them
        self._keeper.warn_of_gone(self.ledger)
        self._keeper.compact(self.ledger)
        self.delays.clear()
        self._has_caught_up = True

    def close(self) -> None:
        """The server has stopped."""
        self._keeper.close()

    def scan(self) -> None:
        """Applies every complete packet that is new or has new files, oldest first.

        Raises OSError if shards' directories cannot be read, after it has applied what can be.
        """
        findings = self._finder.find()
        self._forget(findings.vanished)
        for packet, error in findings.unreadable:
            self._refuse(packet, error)
        ordered = self._in_order(findings.packets)
        self.ledger.clear_set_aside([path for path in self.ledger.directories_set_aside() if not os.path.lexists(path)])
        self.take(ordered)
        if findings.failures:
            raise OSError("; ".join(map(str, findings.failures)))

    def prune(self) -> bool:
        """Deletes packets that may go, if that is wanted; so many at a time that a new one need not wait. True: go on."""
        if self._pruner is None:
            return False
        if self._pruning is None:
            self._pruning = self._pruner.prune(self.ledger.settled())
        gone = list(islice(self._pruning, PRUNE_AT_ONCE))
        self._forget(gone)
        if len(gone) == PRUNE_AT_ONCE:
            return True
        self._pruning = None
        self.problems.note("prune", self._pruner.problem)
        return False

    def _in_order(self, found: list[Packet]) -> list[Packet]:
        """What is to be applied of them, the oldest first."""
        keyed = []
        for packet in found:
            work = self.ledger.look_at(packet)
            if work is not None:
                try:
                    keyed.append((packet_key(work), work))
                except (CorruptFile, OSError) as error:
                    self._refuse(work, error)
            elif self.ledger.is_settled(packet.directory):
                self._finder.rest(packet)
        return [packet for _key, packet in sorted(keyed, key=lambda item: item[0])]

    def _note(self, settled: Settled) -> None:
        """Its rows are in the next answer; the rest is bookkeeping."""
        self.ledger.settle(settled)
        if settled is self.ledger.newest_applied:
            self.last_packet = settled.packet.name
        if settled.status is Status.APPLIED:
            self._keeper.append(settled)

    def _pass_over(self, settled: Settled) -> None:
        """The checkpoint has the packet, by its time."""
        self._note(settled)
        if self._has_caught_up:
            log.warning(
                "packet %s came while this server served, and is not applied: by its time, %d, the checkpoint has its rows; if "
                "it was written after the checkpoint, the clock of its trainer is behind",
                settled.packet.name,
                settled.seconds,
            )

    def _refuse(self, packet: Packet, error: Exception) -> None:
        reason = self.ledger.refuse(packet, error, time.time_ns())
        if reason is not None:
            log.error("packet %s is set aside: %s", packet.name, reason)

    def _forget(self, directories: list[Path]) -> None:
        self._keeper.forgot(self.ledger.forget(directories), self.ledger)
