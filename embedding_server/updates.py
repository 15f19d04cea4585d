"""Applying incremental update packets while the server serves: each one whole, oldest first, and none lost.

find -> wait for the marker -> check the whole packet -> order -> build the layer -> publish -> journal
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from persia.errors import CorruptFile, PersiaError

from .applying import Applied, Applier, TooLateError
from .finding import REST_NS, Finder
from .journal import Entry, Journal, State
from .packets import Done, Packet, PacketKey, packet_key
from .problems import Problems
from .pruning import Pruner
from .watching import Watch

__all__ = ["Applied", "Updater"]

log = logging.getLogger(__name__)

# Disks without notifications, and notifications that were lost, cost at most so long.
RESCAN_SECONDS = 0.2

# As that of the thread that folds layers, and like it on top of the process's own.
UPDATE_NICENESS = 10

# How often packets are looked for that can be deleted, and how many are deleted before new ones are looked for again.
PRUNE_SECONDS = 60.0
PRUNE_AT_ONCE = 500

# So many more packets than are there may stand in the journal before it is written anew.
COMPACT_AFTER = 1000


class Updater:
    """Owns the packets of one table. scan() may be called by one thread at a time; the rest by any."""

    def __init__(self, applier: Applier, root: Path, journal: Journal, pruner: Pruner | None = None) -> None:
        self._applier, self._root, self._journal = applier, root, journal
        self._finder = Finder(root)
        self._wake = threading.Event()
        self._watch = Watch(root, self._wake)
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.packets_applied = 0  # since the start
        self.last_packet = ""  # the newest of them
        self._since_compacted = 0
        self._done: dict[Path, Done] = {}
        self.set_aside: dict[str, str] = {}  # packet -> why
        self._refused: dict[Path, tuple[Packet, bool]] = {}  # as it was then, and whether it stays so until it changes
        self._parts = {entry.packet: set(entry.files) for entry in journal.entries}
        self._pruner = pruner
        self._pruning: Iterator[Path] | None = None
        self._prune_at = 0.0
        self.problems = Problems(log)
        self.on_applied: Callable[[float], None] = lambda _delay: None  # seconds from the packet's time to now

    @property
    def applied(self) -> list[Applied]:
        """The packets in the table that are on disk still, in their order."""
        return self._applier.applied

    def catch_up(self) -> None:
        """Applies all that is there, before the server is ready; says which packets of the journal are gone."""
        self._journaling(lambda: self._journal.say(State.with_bounds("running", self._applier.bounds)))
        self.scan()
        self.scan()  # the rest of packets of which there was only a part when an earlier run applied them
        here = self._here()
        for entry in {entry.packet: entry for entry in self._journal.entries}.values():
            if entry.packet not in here and not self._applier.bounds.has_packet(entry.packet, entry.seconds):
                log.warning("packet %s was applied by an earlier run and is gone: its rows are missing", entry.packet)
        self._journal.entries.clear()
        self._compact()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="updates", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._watch.stop()
        self._journaling(lambda: self._journal.say(State.with_bounds("stopped", self._applier.bounds)))
        self._journal.close()

    def _run(self) -> None:
        with suppress(OSError):  # a sandbox may forbid it
            # Lookups go first where processors are short: a packet may take a little longer, an answer may not.
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + UPDATE_NICENESS)
        while not self._stopping:
            try:
                self._watch.ensure()
                self.scan()
                self.problems.note("scan", None)
                if time.monotonic() >= self._prune_at:
                    if self.prune():
                        self._wake.set()
                    else:
                        self._prune_at = time.monotonic() + PRUNE_SECONDS
            except Exception as error:
                # Whatever it was, the next packet must not be lost over it.
                traceback = None if isinstance(error, OSError) else error
                self.problems.note("scan", f"scanning {self._root} failed, trying again: {error!r}", traceback)
            self._wake.wait(RESCAN_SECONDS)
            self._wake.clear()

    def scan(self) -> None:
        """Applies every complete packet that is new or has new files, oldest first.

        Raises OSError if shards' directories cannot be read, after it has applied what can be.
        """
        found: list[tuple[PacketKey, Packet]] = []
        for packet in map(self._part_applied_before, self._finder.find(self._is_done, self._refuse)):
            if self._is_known(packet):
                continue
            try:
                found.append((packet_key(packet), packet))
            except (CorruptFile, OSError) as error:
                self._refuse(packet, error)
        self._forget_deleted()
        for _, packet in sorted(found, key=lambda item: item[0]):
            if self._stopping:
                return
            self._apply(packet)
        if self._finder.failures:
            raise OSError("; ".join(map(str, self._finder.failures)))

    def prune(self) -> bool:
        """Deletes packets that may go, if that is wanted; so many at a time that a new one need not wait. True: go on."""
        if self._pruner is None:
            return False
        if self._pruning is None:
            self._pruning = self._pruner.prune([done for directory, done in self._done.items() if self._is_done(directory)])
        gone = list(islice(self._pruning, PRUNE_AT_ONCE))
        self._forget(gone)
        if len(gone) == PRUNE_AT_ONCE:
            return True
        self._pruning = None
        self.problems.note("prune", self._pruner.problem)
        return False

    def _is_done(self, directory: Path) -> bool:
        return directory in self._done and directory not in self._refused

    def _is_known(self, packet: Packet) -> bool:
        # A packet with one new file is applied as a whole again: its place in the order may be another now, and a restart,
        # which finds all files, must come to the same rows.
        done = self._done.get(packet.directory)
        if done is not None and set(done.packet.files).issuperset(packet.files):
            self._clear(packet)  # the system refused to show it for a while, or what was added is gone
            return True
        return self._refused.get(packet.directory) == (packet, True)

    def _part_applied_before(self, packet: Packet) -> Packet:
        """Of a packet that grew after an earlier run had applied it, that part first: it counts even if the rest is broken."""
        if packet.directory in self._done:
            return packet
        part = tuple(file for file in packet.files if file.name in self._parts.get(packet.name, ()))
        return replace(packet, files=part or packet.files)

    def _forget_deleted(self) -> None:
        for directory in [directory for directory in self._refused if not os.path.lexists(directory)]:
            packet, _ = self._refused.pop(directory)
            self.set_aside.pop(packet.name, None)
        vanished, self._finder.vanished = self._finder.vanished, []
        self._forget(vanished)

    def _forget(self, directories: list[Path]) -> None:
        gone = {directory for directory in directories if self._done.pop(directory, None)}
        if not gone:
            return
        self._applier.forget(gone)
        self._since_compacted += len(gone)
        if self._since_compacted > COMPACT_AFTER + len(self.applied):
            self._compact()

    def _here(self) -> set[str]:
        return {applied.packet.name for applied in self.applied} | set(self.set_aside)

    def _journaling(self, write: Callable[[], None]) -> None:
        try:
            write()
            self.problems.note("journal", None)
        except OSError as error:
            # A disk that is full or read-only must not keep rows from being served, which a restart finds without it.
            self.problems.note("journal", f"packets are applied, but not noted in {self._journal.path}: {error}")

    def _compact(self) -> None:
        self._since_compacted = 0
        try:
            self._journal.compact(self._here())
            self.problems.note("compacting", None)
        except (CorruptFile, OSError) as error:
            self.problems.note("compacting", f"{self._journal.path} stays longer than it need be: {error}")

    def _apply(self, packet: Packet) -> None:
        try:
            key, applied = self._applier.apply(packet)
        except (PersiaError, OSError, MemoryError) as error:
            self._refuse(packet, error)
            return
        if applied is None:
            self._finish(packet, key[0])
            return
        delay = max(0.0, time.time() - key[0])  # its rows are in the next answer; the rest is bookkeeping
        self.on_applied(delay)
        self.packets_applied += 1
        if applied is self.applied[-1]:
            self.last_packet = packet.name
        self._finish(packet, key[0])
        entry = Entry(packet.name, key[0], [file.name for file in packet.files], applied.changes, applied.version)
        self._journaling(lambda: self._journal.append(entry))
        log.info(
            "packet %s: %d rows, version %d, %.3f s after it was written", packet.name, applied.changes, applied.version, delay
        )

    def _finish(self, packet: Packet, seconds: int) -> None:
        self._done[packet.directory] = Done(packet, seconds)
        self._parts.pop(packet.name, None)
        self._clear(packet)

    def _clear(self, packet: Packet) -> None:
        self._refused.pop(packet.directory, None)
        self.set_aside.pop(packet.name, None)

    def _refuse(self, packet: Packet, error: Exception) -> None:
        # A file's name may be any bytes; the status, which is UTF-8, must not break on it.
        reason = (str(error) or repr(error)).encode(errors="backslashreplace").decode()
        if self.set_aside.get(packet.name) != reason:
            log.error("packet %s is set aside: %s", packet.name, reason)
        self.set_aside[packet.name] = reason
        # What is wrong inside a file stays wrong until it is written again, which a file that was written just now may be
        # without another time; what the system refused, or what is wrong with a newer packet, may pass by itself.
        newest = max((file.mtime_ns for file in (*packet.files, packet.manifest) if file), default=0)
        stays = (
            isinstance(error, CorruptFile) and Path(error.file).parent == packet.directory and time.time_ns() - newest > REST_NS
        )
        self._refused[packet.directory] = packet, stays or (isinstance(error, TooLateError) and error.until_restart)
        self._finder.look_again(packet)
