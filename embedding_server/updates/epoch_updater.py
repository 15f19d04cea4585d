"""Packets by epochs: what is complete is committed, and what is committed is built, epoch by epoch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Set
from pathlib import Path

from persia.errors import CorruptFile, PersiaError
from persia.formats.bounds import Bounds
from persia.formats.committing import committed_packet
from persia.formats.epoch import CommittedCheckpoint, CommittedPacket, Draft
from persia.formats.epoch_history import EpochHistory
from persia.formats.epoch_log import EpochLog
from persia.formats.packet import Packet

from .committed_packets import StalledError, is_part
from .epoch_builder import EpochBuilder, Published
from .finder import Finder
from .follower import EpochFacts, Follower
from .journal import Journal
from .ledger import Ledger, Settled
from .pruning import Pruner
from .variant_builder import name_in_epoch

__all__ = ["EpochUpdater"]

log = logging.getLogger(__name__)

# Until an epoch that could not be built is tried again. A broken checkpoint may take long to read: of the time, not more than
# this part goes into that.
RETRY_SECONDS = 1.0
RETRY_SHARE = 10
# So many epochs before the newest one are built at a start, so that routers which read at one of them find it.
EARLIER_AT_START = 2


class EpochUpdater(Follower):
    """For a server with epochs. It commits packets that no record names, unless the log is held."""

    def __init__(
        self,
        builder: EpochBuilder,
        epoch_log: EpochLog,
        finder: Finder,
        journal: Journal,
        bounds: Bounds,
        pruner: Pruner | None = None,
        on_readable: Callable[[EpochHistory], None] = lambda history: None,
    ) -> None:
        """As a Follower.

        on_readable: called whenever records say more of dense models or variants, before their epochs are built.
        """
        super().__init__(finder, journal, bounds, pruner)
        self.ledger = Ledger(bounds)  # records say which files of a packet count, and not what an earlier run has applied
        self._builder, self._log = builder, epoch_log
        builder.stopping = self.stopping
        self._waiting: dict[str, Packet] = {}  # that were found, and are not in the current epoch, by their names in records
        self._on_readable, self._told = on_readable, (0, 0)
        self._stalled = ""
        self._stalled_since = 0.0
        self._blocked: StalledError | None = None
        self._tried = (0, 0.0)  # up to which epoch, and when, what is blocked was tried

    def epochs(self) -> EpochFacts:
        """For any thread."""
        history, stalled = self._log.history, self._stalled
        for_seconds = time.monotonic() - self._stalled_since if stalled else 0.0
        variants = tuple(history.variants.at(history.newest))
        named = bool(history.bases)
        return EpochFacts(history.newest, stalled, for_seconds, history.held, len(self._waiting), variants, named)

    def catch_up(self) -> None:
        """As a Follower; also waits until some epoch is built, for rows of none would be mixed with those of epochs."""
        super().catch_up()
        while self._stalled and self._builder.epoch == 0 and not self.stopping.wait(RETRY_SECONDS):
            self.scan()
        self.delays.clear()

    def take(self, packets: list[Packet]) -> None:
        """Commits the packets, where that is this server's to do, and builds all epochs that are committed."""
        self._waiting |= {_name_of(packet): packet for packet in packets}
        damage: CorruptFile | None = None
        try:
            self._log.read()
            self._try_to_commit()
        except CorruptFile as error:
            damage = error
        self._tell_readable()
        blocked = self._build()
        self._settle()
        self._say_stalled(str(damage or blocked or ""))

    def _tell_readable(self) -> None:
        history = self._log.history
        said = len(history.dense_changes), len(history.variants.changes)
        if said != self._told:
            self._on_readable(history)
            self._told = said

    # Committing.

    def _try_to_commit(self) -> None:
        """Raises CorruptFile, if somebody else has put a record that is none."""
        try:
            self._commit()
            self.problems.note("commit", None)
        except OSError as error:
            self.problems.note("commit", f"packets cannot be committed to {self._log.records.place()}: {error}")

    def _commit(self) -> None:
        history = self._log.history
        if history.held or (history.newest and not any(map(self._is_open, self._waiting))):
            return
        if not self._log.directory.parent.is_dir():
            return  # the disk is mounted later
        checked = [packet for name in list(self._waiting) if self._is_open(name) and (packet := self._checked(name))]
        while not history.held:
            add = [packet for packet in checked if self._is_open(packet.packet) and self._has_its_place(packet)]
            void = [packet.packet for packet in checked if self._is_open(packet.packet) and packet not in add]
            if history.newest and not add and not void:
                return
            if self._log.commit(Draft(add=tuple(add), void=tuple(void)), "server", _why(void)):
                return
            self._log.read()  # somebody else was first

    def _is_open(self, name: str) -> bool:
        return self._log.history.is_open(name, {file.name for file in self._waiting[name].files})

    def _checked(self, name: str) -> CommittedPacket | None:
        """None: it is broken, or in the checkpoint."""
        packet = self._waiting[name]
        try:
            committed = committed_packet(packet.directory)
        except (PersiaError, OSError, MemoryError) as error:
            del self._waiting[name]
            self._refuse(packet, error)
            return None
        if self._builder.is_old(committed):
            del self._waiting[name]
            self._pass_over(Settled(committed.key, packet))
            return None
        return committed

    def _has_its_place(self, packet: CommittedPacket) -> bool:
        """False: a newer one is gone from the disk, so nobody can tell any more which rows of this one are current."""
        not_older = (one for one in self._log.history.packets.values() if one.unix_seconds >= packet.unix_seconds)
        newer = (one for one in not_older if one.key > packet.key and not self._builder.is_old(one))
        return all((self._log.directory.parent / one.packet).exists() for one in newer)

    # Building.

    def _build(self) -> StalledError | None:
        """Builds what can be built; returns what hinders the newest epoch."""
        newest, history = self._log.newest, self._log.history
        if newest == 0:
            return StalledError(1, None, f"no record is in {self._log.records.place()}, and this server cannot write one there")
        if self._blocked is not None and not self._is_to_be_tried(newest):
            return self._blocked
        blocked: StalledError | None = None
        for epoch in range(self._first(newest), newest + 1):
            packets, variants, named = history.packets_at(epoch), history.variants.packets_at(epoch), history.base_at(epoch)
            if self.stopping.is_set() or (blocked is not None and _blocks(blocked, _names_in(history, epoch), named)):
                continue  # it would fail by the same packet, or checkpoint
            try:
                self._tell(self._builder.build(epoch, packets, variants, named))
                blocked = None
            except StalledError as error:
                blocked = blocked or error
        self._blocked, self._tried = blocked, (newest, time.monotonic())
        self._take_over_bounds()
        return blocked

    def _is_to_be_tried(self, newest: int) -> bool:
        """What is blocked is tried again after a while, and with new epochs, unless the same checkpoint blocks these."""
        assert self._blocked is not None
        if time.monotonic() >= self._tried[1] + max(RETRY_SECONDS, RETRY_SHARE * self._blocked.seconds):
            return True
        history = self._log.history
        return self._tried[0] != newest and not _blocks(self._blocked, _names_in(history, newest), history.base_at(newest))

    def _first(self, newest: int) -> int:
        """The epoch to begin with. At a start all before it comes in one go."""
        if self._builder.epoch:
            return self._builder.epoch + 1
        history, loaded = self._log.history, self._builder.base.named
        # What was loaded at the start may be the checkpoint of earlier epochs alone, if that of later ones cannot be loaded.
        newest = next((epoch for epoch in range(newest, 0, -1) if history.base_at(epoch) == loaded), newest)
        last = history.packets_at(newest)
        for epoch in range(max(1, newest - EARLIER_AT_START), newest):
            if history.base_at(epoch) == loaded and is_part(history.packets_at(epoch), last):
                return epoch
        return newest

    def _take_over_bounds(self) -> None:
        """Others may delete packets that the checkpoint has."""
        bounds = self._builder.base.bounds
        if bounds != self.ledger.bounds:
            self.ledger.bounds = bounds
            self._keeper.say_bounds(bounds)

    def _tell(self, published: Published) -> None:
        now = time.time()
        for packet in published.packets:
            self.delays.observe(max(0.0, now - packet.unix_seconds))
        self.packets_applied += len(published.packets)
        log.info(
            "epoch %d: %d packets, %d rows, version %d",
            published.epoch,
            len(published.packets),
            published.changes,
            published.version,
        )

    def _settle(self) -> None:
        """Packets that are as an epoch has them, or that no epoch is to have, need not be looked at any more."""
        for name, packet in list(self._waiting.items()):
            built = self._builder.packets.get(name)
            if built is not None and {(file.name, file.size) for file in packet.files} <= {
                (file.name, file.bytes) for file in built.files
            }:
                version = None if self._builder.is_old(built) else self._builder.version
                self._note(Settled(built.key, packet, version=version))
            elif built is not None or self._is_open(name) or name in self._log.history.packets:
                self._finder.rest(packet)  # what it waits for is not a change of its own
                continue
            del self._waiting[name]
            self._finder.rest(packet)

    def _say_stalled(self, problem: str) -> None:
        if problem and not self._stalled:
            self._stalled_since = time.monotonic()
        self._stalled = problem
        self.problems.note("epochs", problem or None)

    def _forget(self, directories: list[Path]) -> None:
        for directory in directories:
            self._waiting.pop(f"{directory.parent.name}/{directory.name}", None)
        super()._forget(directories)


def _names_in(history: EpochHistory, epoch: int) -> set[str]:
    """Of all packets of an epoch, those of its variants included."""
    variants = history.variants.packets_at(epoch)
    own = {name_in_epoch(name, packet) for name, one in variants.items() for packet in one.packets}
    return history.packets_at(epoch).keys() | own


def _blocks(blocked: StalledError, packets: Set[str], named: CommittedCheckpoint | None) -> bool:
    """Whether an epoch with these packets and this checkpoint cannot be built for the same reason."""
    if blocked.base is not None:
        return blocked.base.named == named
    return blocked.packet in packets


def _name_of(packet: Packet) -> str:
    return f"{packet.directory.parent.name}/{packet.directory.name}"


def _why(void: list[str]) -> str:
    return "the voided packets are older than one whose files are deleted" if void else ""
