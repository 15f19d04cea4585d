"""Deleting old packets, where that is wanted: only what a restart finds in the checkpoint, and no server waits for.

The checkpoint that lies in its directory now is what a server that starts from now on loads. So of packets that are older
than it, only servers that run already can need one; what these have, their journals say.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from persia.errors import CorruptFile
from persia.formats.bounds import Bounds
from persia.formats.layout import GRAVE, JOURNALS, MANIFEST, PACKET_MARKER, server_of_journal
from persia.formats.packet import Packet

from ..options import PruneRules
from .journal import Entry, read_journal
from .ledger import Settled

__all__ = ["PruneRules", "Pruner"]


@dataclass
class _Claims:
    """What the server of a journal says that it has."""

    bounds: Bounds = field(default_factory=Bounds)
    stopped: bool = False
    files: dict[str, set[str]] = field(default_factory=dict)

    def loaded(self, settled: Settled) -> bool:
        return self.bounds.has(settled.packet.shard, settled.seconds)

    def has(self, settled: Settled) -> bool:
        packet = settled.packet
        return self.loaded(settled) or {file.name for file in packet.files} <= self.files.get(packet.name, set())


class Pruner:
    """For one thread. Any number of servers may do the same to one directory at a time."""

    def __init__(self, root: Path, shards: int, rules: PruneRules, checkpoint: Callable[[], Bounds] | None) -> None:
        """checkpoint(): which packets are in what a server would load now; CorruptFile, OSError. None: it loads nothing."""
        self._root, self._shards, self._rules, self._checkpoint = root, shards, rules, checkpoint
        self.problem: str | None = None  # why packets stay that might go

    def prune(self, settled: Iterable[Settled]) -> Iterator[Path]:
        """Deletes packets, and yields the directory of each that is gone. To be exhausted, or dropped, at any time."""
        self.problem = None
        try:
            ripe = self._ripe(settled)
            self._empty_graves()  # of what another run left when it was killed
            for packet in ripe:
                if not os.path.lexists(packet.directory) or self._delete(packet):
                    yield packet.directory
            if ripe:
                self._empty_graves()
        except (CorruptFile, OSError) as error:
            self.problem = f"old packets are not deleted: {error}"

    def _ripe(self, settled: Iterable[Settled]) -> list[Packet]:
        if self._checkpoint is None:
            self.problem = "old packets are not deleted: there is no embedding_checkpoint that would have their rows"
            return []
        # In this order: a server that starts after its journal was read loads this checkpoint or a later one.
        covered = self._checkpoint()
        old = sorted((one for one in settled if covered.has(one.packet.shard, one.seconds)), key=lambda one: one.seconds)
        old = [one for one in old if self._rules.before_checkpoint or self._is_aged(one)]
        if not old:
            return []
        claims = self._read_claims()
        ripe = [one.packet for one in old if self._is_free(one, claims.values())]
        if len(ripe) < len(old):
            waiting = set(map(id, ripe))
            first = next(one for one in old if id(one.packet) not in waiting)
            for_whom = ", ".join(name for name, claim in sorted(claims.items()) if not self._is_free(first, [claim]))
            self.problem = (
                f"{len(old) - len(ripe)} old packets, {first.packet.name} first, are kept for the servers of {for_whom} in "
                f"{self._root / JOURNALS}; the journal of a server that is no more can be deleted"
            )
        return ripe

    def _is_aged(self, settled: Settled) -> bool:
        return self._rules.older_than is not None and settled.seconds < time.time() - self._rules.older_than

    def _is_free(self, settled: Settled, claims: Iterable[_Claims]) -> bool:
        claims = list(claims)
        return (self._rules.before_checkpoint and all(claim.loaded(settled) for claim in claims)) or (
            self._is_aged(settled) and all(claim.has(settled) for claim in claims)
        )

    def _read_claims(self) -> dict[str, _Claims]:
        """By the name of the journal. Every journal counts, also one of another number of shards: somebody may need it."""
        claims: dict[str, _Claims] = {}
        missing = set(range(self._shards))
        for path in sorted((self._root / JOURNALS).glob("*.jsonl")):
            claim = _claims_of(path)
            if claim.stopped:
                continue
            claims[path.name] = claim
            server = server_of_journal(path.name)
            if server is not None and server[1] == self._shards:
                missing.discard(server[0])
        # A shard that nobody serves yet: it claims nothing.
        return claims | {f"shard {i} of {self._shards}, which has no journal": _Claims() for i in sorted(missing)}

    def _empty_graves(self) -> None:
        for grave in self._root.glob(f"s*/{GRAVE}"):
            shutil.rmtree(grave, ignore_errors=True)  # which does nothing to a link

    def _delete(self, packet: Packet) -> bool:
        directory = packet.directory
        if directory.parent.is_symlink() or not _is_nothing_but(packet):
            self.problem = f"{packet.name} is old and not deleted: expected a directory with the packet's files alone"
            return False
        grave = directory.parent / GRAVE
        grave.mkdir(exist_ok=True)
        if grave.is_symlink():
            raise OSError(f"expected a directory, got a link: {grave}")
        try:
            os.rename(directory, grave / directory.name)
            shutil.rmtree(grave / directory.name)
        except FileNotFoundError:
            pass  # another server was faster
        return not os.path.lexists(directory)


def _is_nothing_but(packet: Packet) -> bool:
    """Whether its directory holds what was applied, its marker, and nothing else. Links count as something else."""
    expected: dict[str, tuple[int, int] | None] = {file.name: (file.size, file.mtime_ns) for file in packet.files}
    expected |= {PACKET_MARKER: None, MANIFEST: None}
    try:
        if not stat.S_ISDIR(os.lstat(packet.directory).st_mode):
            return False
        with os.scandir(packet.directory) as entries:
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
    except FileNotFoundError:
        return False
    if not expected.keys() >= found.keys() >= expected.keys() - {MANIFEST}:
        return False
    return all(
        stat.S_ISREG(status.st_mode) and expected[name] in (None, (status.st_size, status.st_mtime_ns))
        for name, status in found.items()
    )


def _claims_of(path: Path) -> _Claims:
    claims = _Claims()
    for line in read_journal(path):
        if isinstance(line, Entry):
            claims.files[line.packet] = set(line.files)
        else:
            claims = _Claims(line.bounds, stopped=line.server == "stopped")
    return claims
