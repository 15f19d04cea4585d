"""Packets of a store as they come, on the local disk: what follows a directory of packets follows this one.

A store is asked for the names after those that are known already, so that a new packet among thousands costs a short listing
for each training shard. From time to time all names are listed, which finds what came late, was changed, or is gone.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path
from threading import Semaphore

from persia.errors import CorruptFile
from persia.formats.bounds import Bounds
from persia.formats.layout import MANIFEST, PACKET_FILES, PACKET_LIKE, PACKET_MARKER, ROWS, SHARD_LIKE
from persia.formats.manifest import read_manifest
from persia.formats.sign_files import SECONDS_AT
from persia.storage import Entry, Store
from persia.storage.fetching import fetch
from persia.storage.problems import ChangedError

__all__ = ["SHARDS_SECONDS", "Mirror"]

SHARDS_SECONDS = 5.0  # between two looks for new training shards

_DRAFTS = ".fetching"
_ENTRIES = ".entries"  # in a packet's directory: what the store said of its files
_BOOT = ".boot"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LAST = "~"  # after all names of a packet's files
# Packets that are looked at, at a time: for so little of a file one waits for the store's answer, and for nothing else.
_LOOKS = 32
_CHANGES = 5  # of a packet while it is fetched, until that is called a failure

_Files = dict[str, Entry]  # of a packet, by their own names
_Packets = dict[str, _Files]  # of a training shard, by the names of their directories


class Mirror:
    """`root` has the packets that are complete in the store and not in the checkpoint. For one thread."""

    def __init__(
        self,
        store: Store,
        root: Path,
        bounds: Bounds,
        list_all_seconds: float,
        workers: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keeps what an earlier run has left in `root`, where that is still what the store has.

        Args:
            store: a directory of packets.
            root: a directory of this process alone.
            bounds: which packets the checkpoint has. They are not fetched.
            list_all_seconds: between two listings of all packets.
            workers: how many packets are fetched at a time.
            clock: seconds, by which it is time to list more.

        Raises OSError.
        """
        self._store, self._root, self._bounds, self._clock = store, root, bounds, clock
        self._list_all_seconds, self._workers, self._fetches = list_all_seconds, workers, Semaphore(workers)
        self._shards: list[str] = []
        self._known: dict[str, _Packets] = defaultdict(dict)  # by training shard: what is in `root`, or need not be
        self._looked_for_shards = self._listed_all = float("-inf")
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(root / _DRAFTS, ignore_errors=True)
        self._take_over()

    def refresh(self) -> None:
        """Fetches what has come to the store since. Raises the first OSError after all else is done."""
        now = self._clock()
        everything = now - self._listed_all >= self._list_all_seconds
        if everything or now - self._looked_for_shards >= SHARDS_SECONDS:
            self._shards = [name for name in self._store.directories() if SHARD_LIKE.fullmatch(name)]
            self._looked_for_shards = now
        failures: list[OSError] = []
        for shard in self._shards:
            try:
                self._refresh_shard(shard, everything, failures)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        if everything:
            self._listed_all = now

    def _refresh_shard(self, shard: str, everything: bool, failures: list[OSError]) -> None:
        known = self._known[shard]
        after = "" if everything or not known else f"{shard}/{max(known)}/{_LAST}"
        listed = self._list(shard, after)
        if new := [name for name in sorted(listed) if PACKET_MARKER in listed[name] and known.get(name) != listed[name]]:
            # Now that there are their markers: a listing that was begun before may lack files that came before them.
            again = self._list(shard, after)
            with ThreadPoolExecutor(max(_LOOKS, self._workers), thread_name_prefix="fetch") as pool:
                done = pool.map(lambda name: self._bring(shard, name, again.get(name, {})), new)
            for name, error in zip(new, done, strict=True):
                for _ in range(_CHANGES):
                    if isinstance(error, ChangedError):  # its trainer has just written a file of it again
                        again[name] = self._list(shard, after).get(name, {})
                        error = self._bring(shard, name, again[name])
                if isinstance(error, FileNotFoundError):
                    continue  # it was deleted just now
                if error is not None:
                    failures.append(error)
                    break  # the next listing begins before it, and those behind it are found once more
                known[name] = again.get(name, {})
        if everything:
            for name in known.keys() - listed.keys():
                self._remove(shard, name)

    def _list(self, shard: str, after: str) -> _Packets:
        packets: _Packets = defaultdict(dict)
        for entry in self._store.list_files(shard, after):
            _shard, _, rest = entry.name.partition("/")
            packet, _, name = rest.partition("/")
            if PACKET_LIKE.fullmatch(packet) and (name in (PACKET_MARKER, MANIFEST) or name.endswith(PACKET_FILES)):
                packets[packet][name] = entry
        return dict(packets)

    def _bring(self, shard: str, packet: str, files: _Files) -> OSError | None:
        """Puts a packet into its place, unless the checkpoint has it. Returns what hindered it."""
        draft, place = self._root / _DRAFTS / f"{shard}_{packet}", self._root / shard / packet
        try:
            draft.mkdir(parents=True, exist_ok=True)
            if self._is_in_checkpoint(int(shard[1:]), files, draft):
                return None
            with self._fetches:
                for name, entry in files.items():
                    fetch(self._store, entry, draft / name)
            (draft / _ENTRIES).write_text(json.dumps([astuple(entry) for entry in files.values()]))
            place.parent.mkdir(exist_ok=True)
            if place.exists():
                _move_files(draft, place)
            else:
                draft.rename(place)
        except OSError as error:
            return error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return None

    def _is_in_checkpoint(self, shard: int, files: _Files, draft: Path) -> bool:
        """By what its files claim, of which only a few bytes are read."""
        if self._bounds == Bounds():
            return False
        if MANIFEST in files:
            fetch(self._store, files[MANIFEST], draft / MANIFEST)
            try:
                return self._bounds.has(shard, read_manifest(draft / MANIFEST).unix_seconds)
            except CorruptFile:
                return False  # whoever applies it says what is wrong
        seconds = [self._seconds_in(entry) for name, entry in files.items() if name.endswith(PACKET_FILES)]
        return bool(seconds) and self._bounds.has(shard, max(seconds))

    def _seconds_in(self, entry: Entry) -> int:
        begin = entry.size - 8 if entry.name.endswith(ROWS) else SECONDS_AT
        return int.from_bytes(b"".join(self._store.read(entry, max(0, begin), begin + 8)), "little")

    def _remove(self, shard: str, packet: str) -> None:
        """The store has it no more."""
        del self._known[shard][packet]
        place, grave = self._root / shard / packet, self._root / _DRAFTS / f"{shard}_{packet}"
        if place.exists():
            grave.parent.mkdir(exist_ok=True)
            place.rename(grave)
            shutil.rmtree(grave, ignore_errors=True)

    def _take_over(self) -> None:
        """What an earlier run has left; what it had not synced may be spoilt if the machine was switched off since."""
        boot = _BOOT_ID.read_text()
        left = [path for path in self._root.iterdir() if SHARD_LIKE.fullmatch(path.name)]
        if not (self._root / _BOOT).exists() or (self._root / _BOOT).read_text() != boot:
            for path in left:
                shutil.rmtree(path)
            (self._root / _BOOT).write_text(boot)
            return
        for path in (packet for shard in left for packet in shard.iterdir()):
            try:
                entries = [Entry(*fields) for fields in json.loads((path / _ENTRIES).read_text())]
            except (OSError, ValueError, TypeError):
                shutil.rmtree(path)
            else:
                self._known[path.parent.name][path.name] = {entry.name.rpartition("/")[2]: entry for entry in entries}


def _move_files(draft: Path, place: Path) -> None:
    """The packet got other files: each takes its place, and those that are gone go."""
    for path in place.iterdir():
        if not (draft / path.name).exists():
            path.unlink()
    for path in sorted(draft.iterdir(), key=lambda path: path.name == _ENTRIES):
        path.replace(place / path.name)
