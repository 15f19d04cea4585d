"""What was applied, on disk: a line of JSON per packet, and one whenever its server starts, serves or stops.

A restart holds what it finds against it, and from the journals of all servers follows which packets nobody needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from persia.errors import CorruptFile
from persia.formats.bounds import Bounds
from persia.system.durable import is_temporary, sync_directory, write_file

from .journal_lock import JournalLock

__all__ = ["Entry", "Journal", "State", "read_journal"]


class Entry(msgspec.Struct, frozen=True):
    """A packet that was applied, and the files that it had then."""

    packet: str
    seconds: int
    files: list[str]
    rows: int
    version: int


class State(msgspec.Struct, frozen=True):
    """What the server was doing from here on. Entries before the last one are of earlier runs."""

    server: Literal["starting", "running", "stopped"]
    # Unix seconds of the checkpoint in its table: the earliest bound, and those of its training shards. Before there were
    # the latter, `since` was the time of the root marker.
    since: int = 0
    shards: tuple[int, ...] = ()

    @classmethod
    def with_bounds(cls, server: Literal["starting", "running", "stopped"], bounds: Bounds) -> State:
        """What a server does whose table has the checkpoint of these bounds."""
        differ = any(bound != bounds.earliest for bound in bounds.by_shard)
        return cls(server, bounds.earliest, bounds.by_shard if differ else ())

    @property
    def bounds(self) -> Bounds:
        """Which packets the checkpoint in its table has."""
        return Bounds(self.since, self.shards)


Line = Entry | State


def read_journal(path: Path) -> Iterator[Line]:
    """The lines of a journal, which may not be there. A last line that is not finished is passed over.

    Raises CorruptFile for any other damage, OSError.
    """
    at = 0
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return
        try:
            fields = json.loads(line)
            is_state = isinstance(fields, dict) and "server" in fields
            parsed: Line = msgspec.convert(fields, State) if is_state else msgspec.convert(fields, Entry)
        except (ValueError, msgspec.ValidationError) as error:
            raise CorruptFile(str(path), "a line of JSON about a packet", str(error), at) from None
        yield parsed
        at += len(line)


def _line(line: Line) -> bytes:
    fields = msgspec.structs.asdict(line)
    if isinstance(line, State) and not line.shards:
        del fields["shards"]
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


class Journal:
    """One writer. What append() and say() wrote is on disk when they return."""

    def __init__(self, path: Path, *, shared: bool = False, gone_kept: int = 1000, compact_after: int = 1000) -> None:
        """Raises CorruptFile, OSError.

        Args:
            path: Its file.
            shared: Another server may want the same name; then the next free one is taken.
            gone_kept: Of packets that are gone and in no checkpoint, a restart names so many. Who deletes packets without ever
                making a checkpoint shall not have a journal that grows for ever.
            compact_after: So many more packets than are there may stand in the journal before it is to be compacted.
        """
        self.compact_after = compact_after
        self._gone_kept = gone_kept
        self._lock = JournalLock(path) if shared else None
        self.path = path
        self._state: State | None = None
        self._said = False
        if self._lock is not None and path.parent.parent.is_dir():
            with suppress(OSError):  # a disk that is read-only has entries all the same; writing says so
                self._prepare()
        self.entries = [line for line in read_journal(self.path) if isinstance(line, Entry)]  # of earlier runs

    def say(self, state: State) -> None:
        """Notes what the server does from now on. If that fails, it is noted with the next packet. Raises OSError."""
        self._state, self._said = state, False
        if self.path.parent.parent.is_dir():  # else the disk is mounted later
            self._write(b"")

    def append(self, entry: Entry) -> None:
        """Notes a packet. Raises OSError."""
        self._write(_line(entry))

    def compact(self, here: Container[str]) -> None:
        """Leaves one line per packet, in one step. Of packets that are not `here`, only what a restart is to miss stays.

        Raises CorruptFile, OSError: then the journal is as it was.
        """
        if not self.path.parent.parent.is_dir():
            return
        self._prepare()
        lines = list(read_journal(self.path))
        earlier: dict[str, Entry] = {}
        now: dict[str, Entry] = {}
        state: State | None = None
        for line in lines:
            if isinstance(line, State):
                earlier, now, state = earlier | now, {}, line
            else:
                now[line.packet] = line
        earlier |= {packet: entry for packet, entry in now.items() if packet not in here}
        now = {packet: entry for packet, entry in now.items() if packet in here}
        bounds = Bounds() if state is None else state.bounds
        absent = [entry for packet, entry in earlier.items() if packet not in here]
        gone = [entry for entry in absent if not bounds.has_packet(entry.packet, entry.seconds)]
        gone = sorted(gone, key=lambda entry: entry.seconds)[-self._gone_kept :]
        rest = [entry for packet, entry in earlier.items() if packet in here and packet not in now]
        kept: list[Line] = [*gone, *rest, *([state] if state else []), *now.values()]
        if len(kept) == len(lines):
            return
        for leftover in self.path.parent.glob(f".{self.path.name}.*"):
            if is_temporary(leftover.name):
                leftover.unlink(missing_ok=True)
        write_file(self.path, b"".join(map(_line, kept)))

    def close(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _prepare(self) -> None:
        # The directory of packets may be a disk that is mounted later, or be deleted and made again: so nothing is made
        # before there is something to write, and nothing but the lock stays open.
        try:
            self.path.parent.mkdir()
            sync_directory(self.path.parent.parent)
        except FileExistsError:
            pass
        if self._lock is not None and not self._lock.is_held():
            self.path = self._lock.take()
            self._said = False

    def _write(self, lines: bytes) -> None:
        self._prepare()
        with self.path.open("a+b") as file:
            _drop_half_line(file)
            is_new = file.tell() == 0
            if self._state is not None and (is_new or not self._said):
                lines = _line(self._state) + lines
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._said = True
        if is_new:
            sync_directory(self.path.parent)


def _drop_half_line(file: BinaryIO) -> None:
    """Takes away what a crash or a full disk left at the end, and stands there."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read(1) in (b"", b"\n"):
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)
