"""Deleting old packets: only what a restart finds in the checkpoint, and no server waits for; and nothing else, ever."""

from __future__ import annotations

import os
import shutil
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from persia.embedding_server.updates.journal import Entry, Journal, State
from persia.embedding_server.updates.pruning import Pruner, PruneRules
from persia.errors import CorruptFile
from persia.formats.bounds import Bounds
from persia.writers import write_checkpoint
from tests.support.old_packets import AGED, BEFORE, PAST, follow, left, write_old
from tests.support.persia_packets import CONFIG, DIM, Follower, finish, values, write_file, write_packet
from tests.support.servers import EmbeddingServer, wait_until


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    return tmp_path / "packets"


def test_by_age_go_those_that_are_applied_and_in_the_checkpoint_on_disk(packets: Path) -> None:
    for second in (1, 2, 3, 4):
        write_old(packets, second, [second], float(second))
    finish(write_packet(packets, 9, [9], 9.0))  # of next year: not aged
    follower = follow(packets, AGED, checkpoint=3)
    assert not follower.updater.prune()
    assert left(packets) == [3, 4, 9]
    assert follower.values([1, 2, 3, 4, 9]) == [1, 2, 3, 4, 9]
    assert follower.updater.problems.texts() == []
    assert not list(packets.glob("s0/.pruned"))


def test_younger_packets_stay(packets: Path) -> None:
    for second in (1, 5000):
        write_old(packets, second, [second], 1.0)
    follow(packets, PruneRules(older_than=int(time.time()) - PAST - 2500), checkpoint=9000).updater.prune()
    assert left(packets) == [5000]


def test_before_the_checkpoint_go_those_that_it_had_when_it_was_loaded(packets: Path) -> None:
    for second in (1, 2, 3, 4):
        write_old(packets, second, [second], float(second))
    follower = follow(packets, BEFORE, checkpoint=4, since=PAST + 3)
    follower.updater.prune()
    assert left(packets) == [3, 4]  # 3 is in the checkpoint on disk, but not in the one that was loaded
    assert (
        "1 old packets, s0/inc_20260101000003 first, are kept for the servers of replica_0_of_1.jsonl"
        in (follower.updater.problems.texts()[0])
    )


def test_nothing_goes_unless_it_is_wanted_and_covered(packets: Path) -> None:
    for second in (1, 2):
        write_old(packets, second, [second], 1.0)
    Follower(packets).updater.prune()

    def broken() -> Bounds:
        raise CorruptFile("checkpoint", "a marker", "none", 0)

    for checkpoint, reason in [
        (None, "no embedding_checkpoint"),
        (broken, "expected a marker, got none"),
        (lambda: Bounds(PAST), ""),
    ]:
        follower = Follower(packets, 0, Pruner(packets, 1, AGED, checkpoint))
        follower.updater.prune()
        assert reason in "".join(follower.updater.problems.texts())
    assert left(packets) == [1, 2]
    assert not PruneRules()
    assert AGED
    assert BEFORE


@pytest.mark.parametrize("rules", [AGED, BEFORE])
def test_a_packet_waits_for_the_servers_of_all_shards(packets: Path, rules: PruneRules) -> None:
    """No journal, one of a server that starts, one that has not come to it, one of another number of shards: all count."""
    for second in (1, 2):
        write_old(packets, second, [second], 1.0)
    follower = follow(packets, rules, checkpoint=9, since=PAST + 9 if rules is BEFORE else 0, shards=2)

    def kept() -> str:
        follower.updater.prune()
        assert left(packets) == [1, 2]
        return follower.updater.problems.texts()[0]

    assert "shard 0 of 2, which has no journal, shard 1 of 2" in kept()
    for name in ("replica_0_of_2", "replica_1_of_2", "replica_1_of_2.2", "replica_0_of_3"):
        journal = Journal(packets / ".applied" / f"{name}.jsonl")
        journal.say(State("running", PAST + 9))
        for state in (State("starting"), State("running", PAST)):
            journal.say(state)
            assert f"{name}.jsonl" in kept()
        for second in (1, 2):  # of an earlier run
            journal.append(Entry(f"s0/inc_2026010100000{second}", PAST + second, ["0_0.inc"], 1, 1))
        journal.say(State("starting"))
        assert f"{name}.jsonl" in kept()
        if name == "replica_1_of_2":  # the only one of its shard
            journal.say(State("stopped", PAST + 9))
            assert "shard 1 of 2, which has no journal" in kept()
        journal.say(State("running", PAST + 9))
    (packets / ".applied" / "replica_7_of_9.jsonl").write_text("{}\n")
    assert "replica_7_of_9.jsonl at byte 0" in kept()
    (packets / ".applied" / "replica_7_of_9.jsonl").unlink()
    journal.say(State("starting"))
    assert "replica_0_of_3.jsonl" in kept()
    journal.say(State("stopped"))  # there are others of its shard
    follower.updater.prune()
    assert left(packets) == []


def test_a_packet_of_which_another_server_has_a_part_only(packets: Path) -> None:
    directory = write_old(packets, 1, [1], 1.0)
    write_file(directory / "0_1.inc", PAST + 1, [2], 1.0)
    journal = Journal(packets / ".applied" / "replica_1_of_2.jsonl")
    first = Journal(packets / ".applied" / "replica_0_of_2.jsonl")
    first.say(State("running", PAST + 9))
    journal.say(State("running"))
    journal.append(Entry("s0/inc_20260101000001", PAST + 1, ["0_0.inc"], 1, 1))
    (packets / ".applied" / "replica_0_of_1.jsonl").unlink(missing_ok=True)
    follower = follow(packets, AGED, checkpoint=9, shards=2)
    follower.updater.prune()
    assert left(packets) == [1]
    journal.append(Entry("s0/inc_20260101000001", PAST + 1, ["0_0.inc", "0_1.inc"], 2, 2))
    follower.updater.prune()
    assert left(packets) == []


def test_two_servers_that_delete_at_a_time(packets: Path) -> None:
    """One of them does it; the other one finds it done."""
    for second in range(1, 30):
        write_old(packets, second, [second], 1.0)
    followers = [follow(packets, AGED, checkpoint=99) for _ in range(2)]
    passes = [follower.pruner.prune(follower.updater.ledger.settled()) for follower in followers if follower.pruner]
    gone: list[set[Path]] = [set(), set()]
    while len(gone[0]) + len(gone[1]) < 58:
        for k in (0, 1):
            gone[k].add(next(passes[k]))
    assert gone[0] == gone[1]
    assert left(packets) == []


def test_another_server_is_faster_by_a_moment(packets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for second in (1, 2):
        write_old(packets, second, [second], 1.0)
    follower = follow(packets, AGED, checkpoint=99)
    real = os.rename

    def late(source: Path, target: Path) -> None:
        if source.name.endswith("1"):
            shutil.rmtree(source)
        real(source, target)

    monkeypatch.setattr(os, "rename", late)
    follower.updater.prune()
    assert left(packets) == []
    assert follower.updater.problems.texts() == []


def test_what_a_killed_run_left_is_cleared_away(packets: Path) -> None:
    directory = write_old(packets, 1, [1], 1.0)
    write_old(packets, 2, [2], 1.0)
    follower = follow(packets, AGED, checkpoint=2)
    grave = packets / "s0" / ".pruned"
    grave.mkdir()
    os.rename(directory, grave / directory.name)
    shutil.copytree(grave / directory.name, directory)
    assert follow(packets, AGED, checkpoint=1).packets == ["s0/inc_20260101000001", "s0/inc_20260101000002"]
    follower = follow(packets, AGED, checkpoint=2)
    follower.updater.prune()
    assert left(packets) == [2]
    assert not grave.exists()


def test_months_of_packets_are_not_kept_in_mind(packets: Path) -> None:
    """Neither in memory nor in the journal."""
    pruner = Pruner(packets, 1, AGED, lambda: Bounds(PAST + 10_000))
    follower = Follower(packets, pruner=pruner, compact_after=10, gone_kept=5)
    for second in range(200):
        write_old(packets, second, [second % 7], float(second))
        follower.scan()
        follower.updater.prune()
    updater = follower.updater
    assert (len(updater.ledger.applied), len(updater.ledger.settled()), updater.packets_applied) == (0, 0, 200)
    assert updater.last_packet == "s0/inc_20260101000199"
    assert sum(len(shard.resting) + len(shard.names) for shard in updater._finder._shards.values()) <= 1
    assert len(follower.journal.path.read_text().splitlines()) < 20


def test_restarts_of_real_servers_end_in_the_same_rows(tmp_path: Path, packets: Path) -> None:
    """Two shards; a checkpoint that is newer comes, the packets that it has go, and every restart has all rows."""
    now = int(time.time())
    signs = list(range(1, 41))
    checkpoint = tmp_path / "checkpoint"

    def save(value: float, seconds: int) -> None:
        rows = np.full((len(signs), DIM), value, np.float32)
        moment = datetime.fromtimestamp(seconds)
        write_checkpoint(checkpoint, [(np.array(signs, np.uint64), rows)], shards=1, datetime=moment, overwrite=True)

    def leave(number: int, seconds: int, value: float) -> None:
        directory = write_packet(packets, number, [], 0.0)
        write_file(directory / "0_0.inc", seconds, signs, value)
        finish(directory)

    save(1, now - 1000)
    leave(1, now - 900, 2.0)
    leave(2, now - 100, 3.0)
    settings = {"incremental_prune_before_checkpoint": True}
    servers = [
        EmbeddingServer(
            tmp_path, CONFIG, checkpoint=checkpoint, incremental_dir=packets, index=index, count=2, settings=settings
        )
        for index in range(2)
    ]

    def rows() -> set[float]:
        assert all(server.wait_ready() for server in servers)
        return {max(both) for both in zip(*(values(server, signs) for server in servers), strict=True)}

    try:
        assert rows() == {3}
        save(2, now - 500)  # covers the first
        for server in servers:
            server.kill()
            server.start()
            server.wait_ready()
            assert server.status().packets_applied == 1
        wait_until(lambda: left(packets) == [2], "the first packet is deleted")
        assert rows() == {3}
        for server in servers:
            assert server.terminate() == 0
            server.start()
        assert rows() == {3}
        assert all("is gone" not in server.log() for server in servers)
        assert left(packets) == [2]
    finally:
        for server in servers:
            server.kill()
