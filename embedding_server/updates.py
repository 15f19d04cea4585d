"""Applying incremental update packets while the server serves: each one whole, oldest first, and none lost.

find -> wait for the marker -> check the whole packet -> order -> build the layer -> publish -> journal
"""

from __future__ import annotations

import logging
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from persia import _core
from persia.errors import CorruptFile, PersiaError

from .journal import Entry, Journal
from .packets import (
    Packet,
    PacketFile,
    PacketKey,
    find_packets,
    load_packet,
    packet_key,
    signs_of_packet,
)

__all__ = ["Applied", "Updater"]

log = logging.getLogger(__name__)

# Disks without notifications, and notifications that were lost, cost at most so long.
RESCAN_SECONDS = 0.2

# As that of the thread that folds layers.
UPDATE_NICENESS = 10

# File systems stamp changes with a clock that ticks some milliseconds apart: until a directory has rested for so long, an
# unchanged stamp does not prove that nothing came in.
REST_NS = 2_000_000_000


@dataclass(frozen=True)
class Applied:
    """A packet that is in the table."""

    key: PacketKey
    packet: Packet
    version: int


class Updater:
    """Owns the packets of one table. scan() may be called by one thread at a time; the rest by any."""

    def __init__(
        self, table: _core.Table, storage: str, shard: tuple[int, int], root: Path, journal: Journal, since: int
    ) -> None:
        """shard: index and count; since: unix seconds of the checkpoint, which has all that older packets say."""
        self._table, self._storage, self._shard = table, storage, shard
        self._root, self._journal, self._since = root, journal, since
        self._done: dict[Path, set[PacketFile]] = {}
        self._rested: dict[Path, int] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._observer: BaseObserver | None = None
        self._notify = True  # until the system refuses
        self.applied: list[Applied] = []  # in the order of their keys
        self.set_aside: dict[str, str] = {}  # packet -> why
        self._refused: dict[Path, tuple[Packet, bool]] = {}  # as it was then, and whether it stays so until it changes
        self._parts = {entry.packet: set(entry.files) for entry in journal.entries}
        self.on_applied: Callable[[float], None] = lambda _delay: None  # seconds from the packet's time to now

    def catch_up(self) -> None:
        """Applies all that is there, before the server is ready; says which packets of the journal are gone."""
        self.scan()
        self.scan()  # the rest of packets of which there was only a part when an earlier run applied them
        here = {applied.packet.name for applied in self.applied} | set(self.set_aside)
        for entry in self._journal.entries:
            if entry.seconds >= self._since and entry.packet not in here:
                log.warning("packet %s was applied by an earlier run and is gone: its rows are missing", entry.packet)
                here.add(entry.packet)
        self._journal.entries.clear()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="updates", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()

    def _run(self) -> None:
        with suppress(OSError):  # a sandbox may forbid it
            # Lookups go first where processors are short: a packet may take a little longer, an answer may not.
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, max(os.getpriority(os.PRIO_PROCESS, thread), UPDATE_NICENESS))
        said = ""
        while not self._stopping:
            try:
                self._watch()
                self.scan()
                said = ""
            except Exception as error:
                # Whatever it was, the next packet must not be lost over it. It is said once, not with every scan.
                if repr(error) != said:
                    log.error(
                        "scanning %s failed, trying again: %s", self._root, error, exc_info=not isinstance(error, OSError)
                    )
                said = repr(error)
            self._wake.wait(RESCAN_SECONDS)
            self._wake.clear()

    def _watch(self) -> None:
        if not self._notify or self._observer is not None or not self._root.is_dir():
            return
        observer = Observer()
        try:
            observer.schedule(_Wake(self._wake), str(self._root), recursive=True)
            observer.start()
        except OSError as error:
            log.warning("no notifications for %s (%s): scanning every %s s", self._root, error, RESCAN_SECONDS)
            self._notify = False
            return
        self._observer = observer

    def scan(self) -> None:
        """Applies every complete packet that is new or has new files, oldest first.

        Raises OSError if a shard's directory cannot be read, after it has applied what can be.
        """
        self._forget_deleted()
        found: list[tuple[PacketKey, Packet]] = []
        failed: OSError | None = None
        try:
            for packet in map(self._part_applied_before, find_packets(self._root, self._is_old_news, self._refuse)):
                if self._is_known(packet):
                    continue
                try:
                    found.append((packet_key(packet), packet))
                except (CorruptFile, OSError) as error:
                    self._refuse(packet, error)
        except OSError as error:
            failed = error
        for _, packet in sorted(found, key=lambda item: item[0]):
            if self._stopping:
                return
            self._apply(packet)
        if failed is not None:
            raise failed

    def _is_known(self, packet: Packet) -> bool:
        # A packet with one new file is applied as a whole again: its place in the order may be another now, and a restart,
        # which finds all files, must come to the same rows.
        return self._done.get(packet.directory, set()).issuperset(packet.files) or (
            self._refused.get(packet.directory) == (packet, True)
        )

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

    def _is_old_news(self, directory: Path, mtime_ns: int) -> bool:
        if directory in self._refused:
            return False  # its files may be mended in place, which the directory does not show
        if self._rested.get(directory) == mtime_ns:
            return True
        if directory in self._done and time.time_ns() - mtime_ns > REST_NS:
            self._rested[directory] = mtime_ns
        return False

    def _apply(self, packet: Packet) -> None:
        try:
            # Not the key that it was sorted by: its files may have been written in the meantime.
            layer, key = load_packet(packet, self._storage, *self._shard)
            if key[0] < self._since:  # believed only now that the whole packet has been checked
                self._finish(packet)
                return
            for newer in self.applied[bisect_right(self.applied, key, key=lambda applied: applied.key) :]:
                for signs in signs_of_packet(newer.packet):
                    layer.drop(signs)
            rows = layer.size
            version = self._table.publish(layer) if rows else self._table.pin().version
        except (PersiaError, OSError, MemoryError) as error:
            self._refuse(packet, error)
            return
        delay = max(0.0, time.time() - key[0])  # its rows are in the next answer; the rest is bookkeeping
        self.on_applied(delay)
        applied = Applied(key, packet, version)
        self.applied.insert(bisect_right(self.applied, key, key=lambda other: other.key), applied)
        self._finish(packet)
        self._note(applied, rows)
        log.info("packet %s: %d rows, version %d, %.3f s after it was written", packet.name, rows, version, delay)

    def _note(self, applied: Applied, rows: int) -> None:
        files = [file.name for file in applied.packet.files]
        try:
            self._journal.append(Entry(applied.packet.name, applied.key[0], files, rows, applied.version))
        except OSError as error:
            # A disk that is full or read-only must not keep rows from being served, which a restart finds without it.
            log.error("packet %s is applied, but not noted: %s", applied.packet.name, error)

    def _finish(self, packet: Packet) -> None:
        self._done.setdefault(packet.directory, set()).update(packet.files)
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
        self._refused[packet.directory] = packet, stays


class _Wake(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in ("opened", "closed_no_write"):  # our own reading
            self._wake.set()
