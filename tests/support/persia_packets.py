"""Packets as real Persia's trainers leave them, and an updater without a server around it that applies them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from persia import _core
from persia.embedding_server.updates.applier import Applier
from persia.embedding_server.updates.finder import Finder
from persia.embedding_server.updates.journal import Journal
from persia.embedding_server.updates.pruning import Pruner
from persia.embedding_server.updates.thread import UpdateThread
from persia.embedding_server.updates.updater import Updater
from persia.formats.bounds import Bounds
from persia.formats.sign_files import write_sign_file
from tests.support.golden import GOLDEN
from tests.support.servers import EmbeddingServer

MIX = GOLDEN / "mix"
CONFIG = MIX / "embedding_config.yml"
DIM = 8
START = 1_800_000_000


def write_packet(root: Path, second: int, signs: list[int], value: float, *, shard: int = 0, name: str = "0_0.inc") -> Path:
    """A packet of dim 8 in which all numbers are `value`; without its marker."""
    directory = root / f"s{shard}" / f"inc_2026010100{second:04d}"
    directory.mkdir(parents=True, exist_ok=True)
    write_file(directory / name, START + second, signs, value)
    return directory


def write_file(path: Path, unix_seconds: int, signs: list[int], value: float) -> None:
    rows = np.full((len(signs), DIM), value, np.float32)
    _core.write_inc(path, [(np.array(signs, np.uint64), rows)], unix_seconds=unix_seconds)


def write_signs(root: Path, second: int, *signs: int, ends: int | None = None, name: str = "0_0.del") -> Path:
    """A packet of deletions alone, or of ends of rows, with its marker; as whoever does not use our dumper writes it."""
    directory = root / "s0" / f"inc_2026010100{second:04d}"
    directory.mkdir(parents=True, exist_ok=True)
    at = None if ends is None else np.full(len(signs), ends, np.uint64)
    write_sign_file(directory / (name if ends is None else "0_0.ttl"), np.array(signs, np.uint64), START + second, at)
    finish(directory)
    return directory


def finish(directory: Path) -> None:
    (directory / "inc_update_done").touch()


def values(server: EmbeddingServer, signs: list[int]) -> list[float]:
    return [float(row[0]) for row in server.rows(np.array(signs, np.uint64), DIM)[0]]


class Follower:
    """What a server has of a directory of packets. Another one of the same directory is the server after a restart."""

    def __init__(
        self,
        root: Path,
        since: int | Bounds = 0,
        pruner: Pruner | None = None,
        clock: Callable[[], float] = time.monotonic,
        gone_kept: int = 1000,
        compact_after: int = 1000,
    ) -> None:
        """clock: by which all is looked at now and then. gone_kept, compact_after: of its journal."""
        self.table = _core.Table(_core.TableBuilder())
        path = root / ".applied" / "replica_0_of_1.jsonl"
        self.journal = Journal(path, gone_kept=gone_kept, compact_after=compact_after)
        bounds = since if isinstance(since, Bounds) else Bounds(since)
        self.pruner = pruner
        applier = Applier(self.table, "f32", (0, 1))
        self.expiring = applier.expiring
        self.updater = Updater(applier, Finder(root, clock), self.journal, bounds, pruner)
        self.thread = UpdateThread(self.updater, root)
        self.scan = self.updater.scan
        self.updater.catch_up()

    def values(self, signs: list[int]) -> list[float]:
        rows, _absent, _wrong_dim = self.table.pin().rows(np.array(signs, np.uint64), DIM)
        return [float(row[0]) for row in rows]

    @property
    def packets(self) -> list[str]:
        return [applied.packet.name for applied in self.updater.ledger.applied]
