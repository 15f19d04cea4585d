"""Packets that are old by the clock, and a server without a process that may delete them."""

from __future__ import annotations

from pathlib import Path

from persia.embedding_server.updates.pruning import Pruner, PruneRules
from persia.formats.bounds import Bounds
from tests.support.persia_packets import START, Follower, finish, write_file

AGED = PruneRules(older_than=1)
BEFORE = PruneRules(before_checkpoint=True)
PAST = START - 1_000_000_000  # for packets that are old by the clock, too


def write_old(packets: Path, second: int, signs: list[int], value: float, *, complete: bool = True) -> Path:
    directory = packets / "s0" / f"inc_2026010100{second:04d}"
    directory.mkdir(parents=True, exist_ok=True)
    write_file(directory / "0_0.inc", PAST + second, signs, value)
    if complete:
        finish(directory)
    return directory


def follow(packets: Path, rules: PruneRules, *, checkpoint: int, since: int = 0, shards: int = 1) -> Follower:
    return Follower(packets, since, Pruner(packets, shards, rules, lambda: Bounds(PAST + checkpoint)))


def left(packets: Path) -> list[int]:
    return sorted(int(path.name[-4:]) for path in packets.glob("s0/inc_*"))
