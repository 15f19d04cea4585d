"""A new checkpoint as an epoch: the rows of a server that takes it over are those of a server that starts from it."""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persia import _core
from persia.embedding_server import loading
from persia.embedding_server.updates import epoch_checkpoint
from persia.errors import CorruptFile, Superseded
from persia.formats.committing import committed_checkpoint
from persia.formats.epoch import Draft
from persia.formats.epoch_log import EpochLog
from persia.writers import EpochCommitter, write_checkpoint
from tests.support.epoch_followers import EpochFollower
from tests.support.examples import examples
from tests.support.persia_packets import DIM, START, finish, write_packet


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    root = tmp_path / "packets"
    root.mkdir()
    return root


def packet(root: Path, second: int, signs: list[int], value: float) -> str:
    """A complete one; returns its name in records."""
    directory = write_packet(root, second, signs, value)
    finish(directory)
    return f"s0/{directory.name}"


def checkpoint(
    directory: Path, second: int, values: dict[int, float], *, shards: int = 1, ends: dict[int, int] | None = None
) -> Path:
    """Of that second after START. values: of signs, of whose rows all numbers are one. ends: of signs, seconds after it."""
    signs = np.array(list(values), np.uint64)
    rows = np.repeat(np.array(list(values.values()), np.float32)[:, np.newaxis], DIM, axis=1)
    when = datetime.fromtimestamp(START + second, timezone.utc)
    ttl = [(np.array(list(ends), np.uint64), np.array(list(ends.values()), np.uint64))] if ends else []
    write_checkpoint(directory, [(signs, rows)], shards=shards, files_per_shard=2, datetime=when, ttl=ttl, overwrite=True)
    return directory


def commit(root: Path, **draft: object) -> int:
    log = EpochLog(root)
    log.read()
    return log.commit_after(log.newest, Draft(**draft), "operator").epoch  # type: ignore[arg-type]


def take_over(root: Path, directory: Path) -> int:
    return commit(root, base=committed_checkpoint(directory))


def rows_of(follower: EpochFollower, epoch: int = 0) -> dict[int, float]:
    snapshot = follower.table.pin_epoch(epoch)
    assert snapshot is not None
    signs = np.sort(snapshot.signs())
    return dict(zip(signs.tolist(), follower.values(*signs.tolist(), epoch=epoch), strict=True))


OLD = {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5, 5: 0.5}


def test_servers_that_run_and_servers_that_start_have_the_rows_of_a_new_checkpoint(packets: Path, tmp_path: Path) -> None:
    packet(packets, 5, [1, 2, 20], 5.0)
    follower = EpochFollower(packets, checkpoint=checkpoint(tmp_path / "old", 0, OLD)).start()
    # It differs in 2, has not 4, 5 and 20, and has 7, which is new.
    new = checkpoint(tmp_path / "new", 10, {1: 5.0, 2: 6.0, 3: 0.5, 7: 0.25})
    packet(packets, 15, [3, 8], 9.0)
    packet(packets, 16, [5], 9.0)
    assert follower.scan() == 2
    before = rows_of(follower)
    assert take_over(packets, new) == 3
    assert follower.scan() == 3 and not follower.stalled
    expected = {1: 5.0, 2: 6.0, 3: 9.0, 5: 9.0, 7: 0.25, 8: 9.0}
    assert rows_of(follower) == expected and rows_of(follower, epoch=2) == before
    assert follower.table.wait_folded(60)
    assert rows_of(follower) == expected and rows_of(follower, epoch=2) == before
    restarted = EpochFollower(packets, checkpoint=tmp_path / "old", name="restarted.jsonl").start()
    assert rows_of(restarted) == expected
    packet(packets, 17, [1], 17.0)
    for one in (follower, restarted):
        assert one.scan() == 4 and rows_of(one) == expected | {1: 17.0}
    assert follower.bases[-1][1] == restarted.bases[0][1] and follower.bases[-1][0] == 3


def test_what_did_not_change_is_not_in_the_layer(packets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even what packets have said since, however old the checkpoint is by then."""
    follower = EpochFollower(packets, checkpoint=checkpoint(tmp_path / "old", 0, OLD)).start()
    new = checkpoint(tmp_path / "new", 10, OLD | {2: 1.0})
    packet(packets, 15, [3, 4, 6], 9.0)
    assert follower.scan() == 2
    take_over(packets, new)
    with caplog.at_level("INFO"):
        assert follower.scan() == 3
    assert "1 rows differ, 0 are new, 0 are gone" in caplog.text and "epoch 3: 0 packets, 1 rows" in caplog.text
    assert rows_of(follower) == OLD | {2: 1.0, 3: 9.0, 4: 9.0, 6: 9.0}


def test_a_return_finds_the_checkpoint_of_the_epoch(packets: Path, tmp_path: Path) -> None:
    """In memory, or else by the files of both checkpoints."""
    old, new = checkpoint(tmp_path / "old", 0, OLD), checkpoint(tmp_path / "new", 10, {1: 1.0, 6: 1.0})
    follower = EpochFollower(packets, checkpoint=old, retained_epochs=1).start()
    packet(packets, 15, [2], 9.0)
    assert follower.scan() == 2
    take_over(packets, new)
    assert follower.scan() == 3 and rows_of(follower) == {1: 1.0, 2: 9.0, 6: 1.0}
    commit(packets, revert_to=2)
    assert follower.scan() == 4 and rows_of(follower) == OLD | {2: 9.0}
    packet(packets, 16, [4], 9.5)
    assert follower.scan() == 5
    fresh = EpochFollower(packets, checkpoint=old, name="fresh.jsonl").start()
    for epoch, to, expected in ((6, 3, {1: 1.0, 2: 9.0, 6: 1.0}), (7, 1, OLD), (8, 5, OLD | {2: 9.0, 4: 9.5})):
        assert commit(packets, revert_to=to) == epoch
        for one in (follower, fresh):
            one.table.wait_folded(60)
            assert one.scan() == epoch and not one.stalled
            assert rows_of(one) == expected


def test_a_checkpoint_that_is_gone_or_another_one_stalls_and_is_named(packets: Path, tmp_path: Path) -> None:
    old, new = checkpoint(tmp_path / "old", 0, OLD), checkpoint(tmp_path / "new", 10, {1: 1.0})
    follower = EpochFollower(packets, checkpoint=old).start()
    take_over(packets, new)
    shutil.move(new, tmp_path / "away")
    assert follower.scan() == 1 and rows_of(follower) == OLD
    assert follower.stalled.startswith("epoch 2 cannot be built: checkpoint ") and f"there is none at {new}" in follower.stalled
    # A server that starts serves the epoch before, too.
    other = EpochFollower(packets, checkpoint=old, name="other.jsonl").start()
    assert other.epoch == 1 and rows_of(other) == OLD and str(new) in other.stalled
    checkpoint(new, 10, {1: 2.0})
    follower.retry()
    assert follower.scan() == 1 and "which the epoch's record names" in follower.stalled
    shutil.rmtree(new)
    shutil.move(tmp_path / "away", new)
    for one in (follower, other):
        one.retry()
        assert one.scan() == 2 and not one.stalled and rows_of(one) == {1: 1.0}


def test_a_stalled_checkpoint_can_be_left_by_a_return(packets: Path, tmp_path: Path) -> None:
    old, new = checkpoint(tmp_path / "old", 0, OLD), checkpoint(tmp_path / "new", 10, {1: 1.0})
    follower = EpochFollower(packets, checkpoint=old).start()
    take_over(packets, new)
    shutil.rmtree(new)
    packet(packets, 15, [1], 9.0)
    assert follower.scan() == 1 and follower.stalled
    assert commit(packets, revert_to=1) == 4
    assert follower.scan() == 4 and not follower.stalled and rows_of(follower) == OLD


def test_a_file_that_broke_since_leaves_the_rows_as_they_are(packets: Path, tmp_path: Path) -> None:
    old, new = checkpoint(tmp_path / "old", 0, OLD), checkpoint(tmp_path / "new", 10, {sign: 1.0 for sign in range(100)})
    follower = EpochFollower(packets, checkpoint=old).start()
    take_over(packets, new)
    # In the middle, where the identity looks at nothing: only who reads all rows finds it.
    path = next(path for path in sorted(new.glob("s0/*.emb")))
    whole = path.read_bytes()
    path.write_bytes(whole[:2000] + b"\xff" * 64 + whole[2064:])
    assert follower.scan() == 1 and rows_of(follower) == OLD
    assert str(path) in follower.stalled and "byte" in follower.stalled
    started = EpochFollower(packets, checkpoint=old, name="started.jsonl").start()
    assert started.epoch == 1 and rows_of(started) == OLD
    path.write_bytes(whole)
    for one in (follower, started):
        one.retry()
        assert one.scan() == 2 and rows_of(one) == {sign: 1.0 for sign in range(100)}


def test_a_broken_checkpoint_is_not_committed(packets: Path, tmp_path: Path) -> None:
    new = checkpoint(tmp_path / "new", 10, {sign: 1.0 for sign in range(100)})
    path = next(path for path in sorted(new.glob("s0/*.emb")))
    path.write_bytes(path.read_bytes()[:2000] + b"\xff" * 64 + path.read_bytes()[2064:])
    committer = EpochCommitter(packets)
    with pytest.raises(CorruptFile, match=str(path)):
        committer.commit(checkpoint=new)
    with pytest.raises(CorruptFile, match="it is incomplete"):
        (new / "embedding_dump_done").unlink()
        committer.commit(checkpoint=new)
    assert committer.refresh() == 1


def test_a_checkpoint_that_changes_while_it_is_read_stalls(
    packets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = checkpoint(tmp_path / "old", 0, OLD), checkpoint(tmp_path / "new", 10, {1: 1.0, 2: 1.0})
    follower = EpochFollower(packets, checkpoint=old).start()
    take_over(packets, new)
    estimate = loading.estimate

    def overwrite(*arguments: object) -> object:
        checkpoint(new, 11, {1: 3.0, 2: 3.0})
        return estimate(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(epoch_checkpoint, "estimate", overwrite)
    assert follower.scan() == 1 and rows_of(follower) == OLD
    assert str(new) in follower.stalled


def test_a_trainer_commits_a_checkpoint_with_what_belongs_to_it(packets: Path, tmp_path: Path) -> None:
    follower = EpochFollower(packets, checkpoint=checkpoint(tmp_path / "old", 0, OLD)).start()
    committer = EpochCommitter(packets)
    name = packet(packets, 15, [1], 9.0)
    new = checkpoint(tmp_path / "new", 10, {1: 1.0, 2: 1.0})
    epoch = committer.commit([packets / name], dense={"ctr": "9.0"}, checkpoint=new)
    assert follower.scan() == epoch and rows_of(follower) == {1: 9.0, 2: 1.0}
    assert follower.log.history.dense_at(epoch) == {"ctr": "9.0"}
    commit(packets, revert_to=1)
    with pytest.raises(Superseded):
        committer.commit(checkpoint=new)


def test_the_checkpoint_that_a_server_has_can_be_named(packets: Path, tmp_path: Path) -> None:
    """So that a return to it finds it, whatever the server is set up with by then. Nothing is read for it."""
    old = checkpoint(tmp_path / "old", 0, OLD)
    follower = EpochFollower(packets, since=0, checkpoint=old).start()
    take_over(packets, old)
    assert follower.scan() == 2 and rows_of(follower) == OLD
    take_over(packets, checkpoint(tmp_path / "new", 10, {1: 1.0}))
    assert follower.scan() == 3
    started = EpochFollower(packets, checkpoint=tmp_path / "new", name="started.jsonl").start()
    commit(packets, revert_to=2)
    for one in (follower, started):
        assert one.scan() == 4 and rows_of(one) == OLD


def test_shards_of_another_number_take_over_their_own_rows(packets: Path, tmp_path: Path) -> None:
    old = checkpoint(tmp_path / "old", 0, OLD, shards=2)
    servers = [EpochFollower(packets, checkpoint=old, name=f"replica_{i}_of_3.jsonl", shard=(i, 3)).start() for i in range(3)]
    values = {sign: float(sign) for sign in range(50)}
    take_over(packets, checkpoint(tmp_path / "new", 10, values, shards=2))
    together: dict[int, float] = {}
    for one in servers:
        assert one.scan() == 2
        rows = rows_of(one)
        assert rows and not rows.keys() & together.keys()
        together |= rows
    assert together == values


def test_rows_end_when_the_new_checkpoint_says_so(packets: Path, tmp_path: Path) -> None:
    """Also rows that are the same in both."""
    later = 10**9  # seconds after START: nobody sees it end
    old = checkpoint(tmp_path / "old", 0, OLD, ends={1: later, 2: later, 3: later})
    follower = EpochFollower(packets, checkpoint=old).start()
    new = checkpoint(tmp_path / "new", 10, OLD, ends={2: 2 * later, 4: later})
    take_over(packets, new)
    assert follower.scan() == 2 and rows_of(follower) == OLD
    assert sorted(follower.expiring.signs().tolist()) == [2, 4]
    restarted = EpochFollower(packets, checkpoint=old, name="restarted.jsonl").start()
    assert sorted(restarted.expiring.signs().tolist()) == [2, 4]


def test_rows_over_the_capacity_do_not_come(packets: Path, tmp_path: Path) -> None:
    """Of those that the table does not have, only the ones that a load would keep: the most recently used."""
    old = checkpoint(tmp_path / "old", 0, {sign: 1.0 for sign in range(40)})
    follower = EpochFollower(packets, checkpoint=old, capacity=50).start()
    # In the order of their use, the oldest first; 0 to 39 stay as they are.
    values = {sign: 2.0 for sign in range(1000, 1160)} | {sign: 1.0 for sign in range(40)}
    take_over(packets, checkpoint(tmp_path / "new", 10, values))
    assert follower.scan() == 2 and not follower.stalled and follower.table.wait_folded(60)
    rows = rows_of(follower)
    assert 40 < len(rows) <= 50 and all(values[sign] == value for sign, value in rows.items())


def test_more_changes_than_earlier_epochs_can_keep_stall_and_name_the_setting(
    packets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {sign: 1.0 for sign in range(2000)}
    follower = EpochFollower(packets, checkpoint=checkpoint(tmp_path / "old", 0, many)).start()
    diff = _core.CheckpointDiff
    monkeypatch.setattr(_core, "CheckpointDiff", lambda before, _most, capacity: diff(before, 30_000, capacity))
    take_over(packets, checkpoint(tmp_path / "new", 10, many | {sign: 2.0 for sign in range(1000)}))
    assert follower.scan() == 1 and rows_of(follower) == many
    assert "retained_epochs_percent" in follower.stalled


def test_packets_that_the_new_checkpoint_has_may_go(packets: Path, tmp_path: Path) -> None:
    first = packet(packets, 5, [1], 5.0)
    follower = EpochFollower(packets, checkpoint=checkpoint(tmp_path / "old", 0, OLD)).start()
    take_over(packets, checkpoint(tmp_path / "new", 10, {1: 5.0}))
    assert follower.scan() == 2
    assert follower.updater.ledger.bounds.has(0, START + 5)
    shutil.rmtree(packets / first)
    packet(packets, 15, [2], 9.0)
    restarted = EpochFollower(packets, checkpoint=tmp_path / "old", name="restarted.jsonl").start()
    assert follower.scan() == 3
    assert restarted.scan() == 3 and not restarted.stalled
    assert rows_of(follower) == rows_of(restarted) == {1: 5.0, 2: 9.0}
    # To go back behind it needs the packet.
    commit(packets, revert_to=1)
    late = EpochFollower(packets, checkpoint=tmp_path / "old", name="late.jsonl")
    late.scan()
    assert first in late.stalled


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["packet", "packet", "checkpoint", "void", "revert", "scan"]),
        st.integers(0, 20),
        st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True),
    ),
    max_size=12,
)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_comes_all_servers_have_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, list[int]]]
) -> None:
    directory = tmp_path_factory.mktemp("steps")
    root = directory / "packets"
    root.mkdir()
    old = checkpoint(directory / "old", 0, OLD)
    servers = [EpochFollower(root, checkpoint=old, name="first.jsonl", retained_epochs=retained).start() for retained in (1, 8)]
    for second, (what, number, signs) in enumerate(steps, 1):
        log = servers[0].log
        log.read()
        if what == "packet":
            packet(root, second * 10, signs, float(second))
        elif what == "checkpoint":
            values = {sign: float(second + sign % 2) for sign in signs}
            take_over(root, checkpoint(directory / f"{second}", second * 10 - 5 * number, values))
        elif what == "void" and log.history.packets:
            commit(root, void=(sorted(log.history.packets)[number % len(log.history.packets)],))
        elif what == "revert" and log.newest:
            commit(root, revert_to=number % log.newest)
        servers[number % 2].scan()
    newest = {one.scan() for one in servers} | {one.scan() for one in servers}
    assert len(newest) == 1 or max(newest) == servers[0].epoch == servers[1].epoch
    started = EpochFollower(root, checkpoint=old, name="started.jsonl").start()
    assert [one.stalled for one in (*servers, started)] == ["", "", ""]
    assert rows_of(servers[0]) == rows_of(servers[1]) == rows_of(started)
