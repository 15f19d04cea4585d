"""Packets of one training shard into a store, one after the other: files first, manifest, marker last."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from persia.errors import CorruptFile, Unavailable
from persia.formats.layout import DRAFTS, MANIFEST, PACKET_MARKER
from persia.formats.manifest import Manifest, read_manifest
from persia.formats.packet import is_packet_name, packet_name
from persia.storage import Store

from .packet_files import manifest_of, write_packet_files
from .row_buffer import Change

__all__ = ["PacketUpload"]

_log = logging.getLogger(__name__)


class PacketUpload:
    """Not for use by two threads at a time.

    Every file of a packet is created, and none is ever written again, so a name belongs to whoever has created its first file.
    What a writer that failed or was killed has left under a name has no marker, and nobody takes it for a packet.
    """

    variant = ""  # those of variants go to directories alone

    def __init__(self, store: Store, shard: int, rows_per_file: int) -> None:
        """store: the directory of packets. Raises OSError."""
        self._store, self._shard, self._rows_per_file = store, shard, rows_per_file
        self._directory = f"s{shard}"
        self._last = self._noted()
        self._last_name = self._last.packet if self._last else None
        self._go_on_behind_others()

    def close(self) -> None:
        """Nothing is held."""

    def write(self, changes: list[Change], unix_seconds: float) -> Path:
        """Writes a packet of changes, one for each sign; returns its place below the directory of packets, as s0/inc_....

        After an error there is none, although files without a marker may be left. Raises OSError, Unavailable.
        """
        seconds = max(int(unix_seconds), self._last.unix_seconds if self._last else 0)
        with tempfile.TemporaryDirectory(prefix="persia-packet-") as scratch:
            draft = Path(scratch)
            files = write_packet_files(draft, self._shard, changes, seconds, self._rows_per_file)
            name = self._take_name(draft / files[0].name, unix_seconds)
            manifest = manifest_of(name, self._shard, self._last, seconds, files)
            for file in files[1:]:
                self._create(name, file.name, (draft / file.name).read_bytes())
        self._create(name, MANIFEST, manifest.to_bytes())
        self._create(name, PACKET_MARKER, b"")
        self._last = manifest
        try:
            self._store.put(f"{self._directory}/{DRAFTS}/{MANIFEST}", manifest.to_bytes())
        except OSError as error:
            _log.warning("packet %s is written, but not noted as the last one: %s", name, error)
        return Path(self._directory, name)

    def _take_name(self, first: Path, unix_seconds: float) -> str:
        """Puts the first file of the packet under a name that nobody has."""
        while True:
            # Whatever happens from here on, no other packet has the name: a part of this one may be there.
            self._last_name = name = packet_name(unix_seconds, self._last_name)
            if self._store.create(f"{self._directory}/{name}/{first.name}", first):
                return name

    def _create(self, packet: str, file: str, data: bytes) -> None:
        name = f"{self._directory}/{packet}/{file}"
        # A request that was sent twice because its answer was lost finds its own file.
        if not self._store.create(name, data) and self._store.read_whole(name) != data:
            raise Unavailable(f"expected one writer of {self._store.url_of(self._directory)}, but another one has put {name}")

    def _noted(self) -> Manifest | None:
        return self._manifest(f"{self._directory}/{DRAFTS}/{MANIFEST}")

    def _go_on_behind_others(self) -> None:
        """What has come since the last packet was noted, or was never noted."""
        after = f"{self._directory}/{self._last_name}" if self._last_name else ""
        for entry in self._store.list_files(self._directory, after):
            packet, _, file = entry.name.removeprefix(f"{self._directory}/").partition("/")
            if is_packet_name(packet):
                self._last_name = max(packet, self._last_name or "")
                found = self._manifest(entry.name) if file == MANIFEST else None
                if found and found.sequence >= (self._last.sequence if self._last else 0):
                    self._last = found

    def _manifest(self, name: str) -> Manifest | None:
        try:
            data = self._store.read_whole(name)
        except FileNotFoundError:
            return None
        with tempfile.NamedTemporaryFile(prefix="persia-manifest-") as file:
            file.write(data)
            file.flush()
            try:
                return read_manifest(Path(file.name))
            except CorruptFile as error:
                _log.warning("passed by while looking for the last packet: %s: %s", self._store.url_of(name), error)
                return None
