"""Packets of one training shard, one after the other, each there as a whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import shutil
from pathlib import Path

from persia.errors import CorruptFile, Unavailable
from persia.formats.layout import DRAFTS, MANIFEST, PACKET_MARKER, shard_directory, variant_directory
from persia.formats.manifest import Manifest, read_manifest
from persia.formats.packet import is_packet_name, packet_name
from persia.system.durable import sync_directory, write_file
from persia.variant import variant_key

from .packet_files import manifest_of, write_packet_files
from .row_buffer import Change

_MARK = "writer"  # in the directory of drafts

_log = logging.getLogger(__name__)


class PacketWriter:
    """Not for use by two threads at a time.

    A packet is put together in `s{i}/.writer/`, marker last, and then renamed into its place. There it cannot be seen
    half: real Persia takes any directory of `s{i}` for a packet, and one that it once saw without a marker it never looks
    at again. And there it is on the file system of its place, wherever `s{i}` may be mounted.

    A shard has one writer, by a lock. Where locks do not hold between machines, the writer that began last is the one: each
    leaves a mark that it drew, and one who finds another's mark writes no packet any more.
    """

    def __init__(self, incremental_dir: Path, shard: int, rows_per_file: int, variant: str = "") -> None:
        """variant: to which the packets belong; empty: to the rows that all share."""
        self._shard, self._rows_per_file, self.variant = shard, rows_per_file, variant
        incremental_dir = _root_of_packets(incremental_dir, variant)
        self._directory = shard_directory(incremental_dir, shard)
        self._work = self._directory / DRAFTS
        self._work.mkdir(parents=True, exist_ok=True)
        sync_directory(incremental_dir)
        self._lock = os.open(self._work, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Unavailable(f"expected one writer of {self._directory}, got a second while the first is at work") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):  # a file system without locks: not worth to refuse it
                os.close(self._lock)
                raise
        self._mark = secrets.token_hex(16)
        self._draft = self._work / f"packet-{self._mark}"
        write_file(self._work / _MARK, self._mark.encode())
        self._remove_drafts()
        # The last packet, of which a copy is kept because packets are deleted when no server needs them any more.
        self._last = self._find_last()
        names = [path.name for path in self._directory.iterdir() if is_packet_name(path.name)]
        self._last_name = max(names + ([self._last.packet] if self._last else []), default=None)

    def close(self) -> None:
        """Lets another writer have the directory. Does nothing the second time."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def write(self, changes: list[Change], unix_seconds: float) -> Path:
        """Writes a packet of changes, one for each sign; when this returns, it is on disk.

        After an error there is none, and its name is still free.
        """
        name = packet_name(unix_seconds, self._last_name)
        while (self._directory / name).exists():  # somebody else's, since the start
            name = packet_name(unix_seconds, name)
        self._expect_own_mark()
        try:
            manifest = self._put_together(name, changes, unix_seconds)
            self._expect_own_mark()
            os.rename(self._draft, self._directory / name)
        except FileNotFoundError:
            self._expect_own_mark()  # it is another writer that has removed the draft
            raise
        # From here on servers may have seen the packet, so neither its name nor its number may come again. If it is not
        # certain to be on disk, that is an error all the same: its rows are then written once more, which does no harm.
        self._last, self._last_name = manifest, name
        sync_directory(self._directory)
        try:
            write_file(self._work / MANIFEST, manifest.to_bytes())
        except OSError as error:
            _log.warning("packet %s is written, but not noted as the last one: %s", name, error)
        return self._directory / name

    def _put_together(self, name: str, changes: list[Change], unix_seconds: float) -> Manifest:
        """The whole packet, as a draft. Raises OSError."""
        draft = self._draft
        shutil.rmtree(draft, ignore_errors=True)  # of a packet that failed
        draft.mkdir()
        seconds = max(int(unix_seconds), self._last.unix_seconds if self._last else 0)
        files = write_packet_files(draft, self._shard, changes, seconds, self._rows_per_file)
        manifest = manifest_of(name, self._shard, self._last, seconds, files)
        write_file(draft / MANIFEST, manifest.to_bytes())
        write_file(draft / PACKET_MARKER, b"")
        return manifest

    def _expect_own_mark(self) -> None:
        """Raises Unavailable, OSError."""
        try:
            mark = (self._work / _MARK).read_text()
        except FileNotFoundError:
            return  # somebody has tidied up
        if mark != self._mark:
            raise Unavailable(
                f"expected one writer of {self._directory}, but another one has begun since, on a file system whose locks do "
                "not hold between machines: this one writes no packets any more"
            )

    def _remove_drafts(self) -> None:
        """Those of writers that were killed. Renamed first: so one that is still at work either has its packet, or fails."""
        for path in self._work.glob("packet*"):
            grave = self._work / f"removed-{self._mark}"
            try:
                path.rename(grave)
            except FileNotFoundError:
                continue
            shutil.rmtree(grave, ignore_errors=True)

    def _find_last(self) -> Manifest | None:
        packets = sorted((path for path in self._directory.iterdir() if is_packet_name(path.name)), reverse=True)
        newest = next(filter(None, map(_manifest_in, packets)), None)
        found = [manifest for manifest in (newest, _manifest_in(self._work)) if manifest]
        return max(found, key=lambda manifest: manifest.sequence, default=None)


def _manifest_in(directory: Path) -> Manifest | None:
    try:
        return read_manifest(directory / MANIFEST)
    except FileNotFoundError:
        return None  # one of real Persia's, or deleted just now
    except CorruptFile as error:
        _log.warning("passed by while looking for the last packet: %s", error)
        return None


def _root_of_packets(incremental_dir: Path, variant: str) -> Path:
    """Where they go. The directory of a variant is there, and lasts, when this returns. Raises InvalidInput, OSError."""
    if not variant:
        return incremental_dir
    variant_key(variant)
    directory = variant_directory(incremental_dir, variant)
    directory.mkdir(parents=True, exist_ok=True)
    sync_directory(directory.parent)
    sync_directory(incremental_dir)
    return directory
