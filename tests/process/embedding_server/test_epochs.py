"""Servers that follow epochs: whatever comes, in whatever order, they have the same rows at the same number."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persia.errors import InvalidInput, Superseded
from persia.formats import committing
from persia.formats.epoch import Draft, EpochRecord
from persia.formats.epoch_log import Author, EpochLog
from persia.formats.layout import record_path
from persia.formats.verification import PacketInfo, verify_packet
from persia.writers import EpochCommitter, write_checkpoint
from tests.support.epoch_followers import EpochFollower
from tests.support.examples import examples
from tests.support.persia_packets import DIM, START, finish, write_file, write_packet, write_signs
from tests.support.servers import wait_until


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    root = tmp_path / "packets"
    root.mkdir()
    return root


def packet(root: Path, second: int, signs: list[int], value: float, shard: int = 0) -> str:
    """A complete one; returns its name in records."""
    directory = write_packet(root, second, signs, value, shard=shard, name=f"{shard}_0.inc")
    finish(directory)
    return f"{directory.parent.name}/{directory.name}"


def operator(root: Path, **draft: object) -> int:
    log = EpochLog(root)
    log.read()
    return log.commit_after(log.newest, Draft(**draft), "operator").epoch  # type: ignore[arg-type]


def test_an_epoch_has_all_packets_that_are_there_and_several_of_them_are_one_layer(packets: Path) -> None:
    packet(packets, 1, [1, 2], 1.0)
    packet(packets, 2, [2, 3], 2.0, shard=1)
    follower = EpochFollower(packets).start()
    assert (follower.epoch, follower.table.status().version) == (1, 1)
    assert follower.values(1, 2, 3) == [1.0, 2.0, 2.0]
    packet(packets, 3, [3], 3.0)
    packet(packets, 4, [4], 4.0)
    assert follower.scan() == 2
    assert follower.values(1, 2, 3, 4) == [1.0, 2.0, 3.0, 4.0]
    assert follower.values(1, 2, 3, 4, epoch=1) == [1.0, 2.0, 2.0, 0.0]
    assert follower.updater.packets_applied == 4 and follower.updater.last_packet == "s0/inc_20260101000004"
    assert follower.scan() == 2  # and nothing new


def test_the_first_epoch_comes_before_any_packet(packets: Path) -> None:
    """A server that had none would answer with its newest rows, whatever the others have."""
    follower = EpochFollower(packets).start()
    assert follower.epoch == 1 and follower.log.history.packets == {}


def test_servers_commit_each_packet_once(packets: Path) -> None:
    servers = [EpochFollower(packets, name=f"replica_{i}_of_3.jsonl", shard=(i, 3)).start() for i in range(3)]
    for second in range(1, 6):
        packet(packets, second, list(range(20)), float(second))
        for server in servers[second % 3 :] + servers[: second % 3]:
            server.scan()
    assert [server.epoch for server in servers] == [6, 6, 6]
    assert [len(record.add) for record in servers[0].log.history.records] == [0, 1, 1, 1, 1, 1]
    assert [sum(column) for column in zip(*(server.values(*range(20)) for server in servers), strict=True)] == [5.0] * 20


def test_an_epoch_begins_on_a_shard_that_has_no_row_of_it(packets: Path) -> None:
    servers = [EpochFollower(packets, name=f"replica_{i}_of_2.jsonl", shard=(i, 2)).start() for i in range(2)]
    packet(packets, 1, [1], 1.0)
    assert [server.scan() for server in servers] == [2, 2]
    assert sorted(server.values(1)[0] for server in servers) == [0.0, 1.0]


def test_a_late_packet_makes_an_epoch_in_which_newer_rows_stay(packets: Path) -> None:
    packet(packets, 5, [1, 2], 5.0)
    follower = EpochFollower(packets).start()
    packet(packets, 3, [2, 3], 3.0)
    packet(packets, 7, [3, 4], 7.0)
    write_signs(packets, 8, 4)
    assert follower.scan() == 2
    assert follower.values(1, 2, 3, 4) == [5.0, 5.0, 7.0, 0.0]
    assert EpochFollower(packets).start().values(1, 2, 3, 4) == [5.0, 5.0, 7.0, 0.0]


def test_rows_that_end_in_an_epoch_of_several_packets(packets: Path) -> None:
    """A later packet's row has no end if that packet says none, although an earlier one of the same epoch did."""
    for second in (1, 2):
        write_packet(packets, second, [7, 8], float(second))
    write_signs(packets, 1, 7, 8, ends=START * 2)
    write_signs(packets, 2, 8, ends=START * 2)
    follower = EpochFollower(packets).start()
    assert follower.values(7, 8) == [2.0, 2.0] and follower.expiring.rows == 1


def test_what_a_packet_says_of_ends_of_rows_that_it_does_not_have_is_of_no_account(packets: Path) -> None:
    """Those of an earlier packet in the same layer are not meant, nor those that are put again when a packet goes."""
    packet(packets, 1, [7, 8], 1.0)
    write_packet(packets, 2, [8], 2.0)
    write_signs(packets, 2, 7, 8, ends=1)
    bad = packet(packets, 3, [7, 8], 3.0)
    follower = EpochFollower(packets).start()
    assert follower.values(7, 8) == [3.0, 3.0]
    operator(packets, void=(bad,))
    assert follower.scan() == 2 and follower.values(7, 8) == [1.0, 0.0]
    assert EpochFollower(packets, name="all_at_once.jsonl").start().values(7, 8) == [1.0, 0.0]


@pytest.mark.parametrize("ends", [1, 2], ids=["of what comes back", "of what goes"])
def test_a_return_brings_back_when_rows_end(packets: Path, ends: int) -> None:
    follower = EpochFollower(packets).start()
    for second in (1, 2):
        write_packet(packets, second, [7, 8], float(second))
        if second == ends:
            write_signs(packets, second, 7, ends=START * 2)
        finish(packets / "s0" / f"inc_202601010000{second:02d}")
        follower.scan()
    operator(packets, revert_to=2)
    assert follower.scan() == 4
    alone = EpochFollower(packets, name="alone.jsonl").start()
    for server in (follower, alone):
        assert server.values(7, 8) == [1.0, 1.0] and server.expiring.rows == (1 if ends == 1 else 0)


def test_a_packet_that_grows_is_committed_again(packets: Path) -> None:
    packet(packets, 1, [1], 1.0)
    follower = EpochFollower(packets).start()
    write_file(packets / "s0" / "inc_20260101000001" / "0_1.inc", START + 1, [2], 9.0)
    assert follower.scan() == 2
    assert follower.values(1, 2) == [1.0, 9.0] and follower.values(2, epoch=1) == [0.0]
    assert follower.scan() == 2 and EpochFollower(packets).start().values(1, 2) == [1.0, 9.0]


def test_a_packet_that_grew_while_a_server_was_away_is_whole_when_it_is_ready(packets: Path) -> None:
    packet(packets, 1, [1], 1.0)
    EpochFollower(packets).start().updater.close()
    write_file(packets / "s0" / "inc_20260101000001" / "0_1.inc", START + 1, [2], 9.0)
    os.utime(packets / "s0" / "inc_20260101000001", (1e9, 1e9))  # nothing says that there is more to come
    follower = EpochFollower(packets)
    follower.between_looks = 0.0
    assert follower.start().values(1, 2) == [1.0, 9.0]


def test_a_broken_packet_is_never_committed(packets: Path) -> None:
    name = packet(packets, 1, [1], 1.0)
    packet(packets, 2, [2], 2.0)
    path = packets / name / "0_0.inc"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    follower = EpochFollower(packets).start()
    assert follower.values(1, 2) == [0.0, 2.0] and name in follower.updater.ledger.set_aside()
    path.write_bytes(whole)
    assert follower.scan() == 2
    assert follower.values(1, 2) == [1.0, 2.0] and not follower.updater.ledger.set_aside()


def test_an_epoch_whose_packet_is_broken_stalls_and_says_so_until_it_is_mended(packets: Path) -> None:
    """The others of the epoch wait with it: to skip one would make another state of the same number."""
    follower = EpochFollower(packets).start()
    names = [packet(packets, second, [second], float(second)) for second in (1, 2)]
    EpochFollower(packets, name="other.jsonl").start()  # commits both
    path = packets / names[1] / "0_0.inc"
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + b"\xff" + whole[21:])
    assert follower.scan() == 1
    assert follower.stalled == (
        f"epoch 2 cannot be built: packet {names[1]}: {path} at byte 0: expected {len(whole)} bytes of CRC-32 "
        f"{follower.log.history.packets[names[1]].files[0].crc32}, by the epoch's record, got {len(whole)} bytes of CRC-32 "
        + follower.stalled.split()[-1]
    )
    assert follower.updater.problems.texts() == [follower.stalled] and follower.values(1, 2) == [0.0, 0.0]
    path.write_bytes(whole)
    follower.updater._tried = (0, 0.0)
    assert follower.scan() == 2
    assert follower.values(1, 2) == [1.0, 2.0] and not follower.stalled and follower.updater.problems.texts() == []


def test_a_voided_packet_lets_a_stalled_server_go_on(packets: Path) -> None:
    follower = EpochFollower(packets).start()
    names = [packet(packets, second, [second], float(second)) for second in (1, 2)]
    other = EpochFollower(packets, name="other.jsonl").start()
    shutil.rmtree(packets / names[0])
    assert follower.scan() == 1 and names[0] in follower.stalled
    assert operator(packets, void=(names[0],)) == 3
    for server in (follower, other):
        assert server.scan() == 3
        assert server.values(1, 2) == [0.0, 2.0] and not server.stalled
    # Who has skipped an epoch does not pretend to have it.
    assert (follower.table.status().epoch_low, other.table.status().epoch_low) == (3, 1)
    assert EpochFollower(packets, name="third.jsonl").start().values(1, 2) == [0.0, 2.0]


def test_a_return_is_an_epoch_and_lasts_over_restarts(packets: Path) -> None:
    follower = EpochFollower(packets).start()
    for second in range(1, 5):
        packet(packets, second, [1, second], float(second))
        follower.scan()
    assert follower.epoch == 5 and follower.values(1, 4) == [4.0, 4.0]
    assert operator(packets, revert_to=3, hold=True) == 6
    assert follower.scan() == 6
    assert follower.values(1, 2, 3, 4) == [2.0, 2.0, 0.0, 0.0]
    assert follower.values(1, 4, epoch=5) == [4.0, 4.0]  # for those who still read at it
    packet(packets, 6, [1], 6.0)
    assert follower.scan() == 6 and follower.updater.epochs().waiting == 1
    assert EpochFollower(packets, name="other.jsonl").start().values(1, 2, 3, 4) == [2.0, 2.0, 0.0, 0.0]
    assert operator(packets, hold=False) == 7
    assert follower.scan() == 8
    assert follower.values(1, 2, 3, 4) == [6.0, 2.0, 0.0, 0.0]
    assert follower.table.wait_folded(60) and follower.values(1, 2, 3, 4) == [6.0, 2.0, 0.0, 0.0]


def checkpoint_of(directory: Path, value: float) -> Path:
    """Rows of the signs 0 to 29 in which all numbers are `value`."""
    signs = np.arange(30, dtype=np.uint64)
    write_checkpoint(directory, [(signs, np.full((30, DIM), value, np.float32))], shards=2, overwrite=True)
    return directory


def test_a_return_beyond_what_is_in_memory_is_read_from_the_files(packets: Path, tmp_path: Path) -> None:
    packet(packets, 1, [1, 2, 40, 50], 1.0)
    packet(packets, 2, [1, 3, 41], 2.0)
    follower = EpochFollower(packets, checkpoint=checkpoint_of(tmp_path / "checkpoint", 0.5)).start()
    bad = packet(packets, 3, [1, 2, 4, 40], 3.0)
    write_signs(packets, 4, 5, 41)
    assert follower.scan() == 2
    signs = (1, 2, 3, 4, 5, 40, 41, 50)
    assert operator(packets, revert_to=0) == 3
    assert follower.scan() == 3 and not follower.stalled
    assert follower.values(*signs) == [0.5] * 5 + [0.0] * 3
    assert operator(packets, revert_to=2) == 4
    assert follower.scan() == 4 and follower.values(*signs) == [3.0, 3.0, 2.0, 3.0, 0.0, 3.0, 0.0, 1.0]
    restarted = EpochFollower(packets, checkpoint=tmp_path / "checkpoint", name="restarted.jsonl").start()
    for epoch in (5, 6):
        if epoch == 5:
            operator(packets, void=(bad,))
        else:
            packet(packets, 6, [50], 6.0)
        for server in (follower, restarted):
            assert server.scan() == epoch and server.table.wait_folded(60)
            assert server.values(*signs) == [2.0, 1.0, 2.0, 0.5, 0.0, 1.0, 0.0, 6.0 if epoch == 6 else 1.0]


def test_what_is_left_when_a_packet_goes_is_what_older_and_newer_ones_say(packets: Path, tmp_path: Path) -> None:
    """No epoch in memory is without it, so its signs are read again, and no others change."""
    packet(packets, 1, [1, 2, 3, 40], 1.0)
    bad = packet(packets, 2, [1, 2, 4, 40, 41], 2.0)
    packet(packets, 3, [1, 5], 3.0)
    write_signs(packets, 4, 40)
    follower = EpochFollower(packets, checkpoint=checkpoint_of(tmp_path / "checkpoint", 0.5)).start()
    late = packet(packets, 0, [2, 6], 9.0)
    operator(packets, void=(bad,))
    assert follower.scan() == 3 and not follower.stalled
    expected = [3.0, 1.0, 1.0, 0.5, 3.0, 9.0, 0.0, 0.0]
    assert follower.log.history.packets.keys() >= {late} and follower.values(1, 2, 3, 4, 5, 6, 40, 41) == expected
    assert follower.table.wait_folded(60) and follower.values(1, 2, 3, 4, 5, 6, 40, 41) == expected
    fresh = EpochFollower(packets, checkpoint=tmp_path / "checkpoint", name="fresh.jsonl").start()
    assert fresh.values(1, 2, 3, 4, 5, 6, 40, 41) == expected


def test_no_rows_of_another_checkpoint_are_put_beside_those_of_the_table(packets: Path, tmp_path: Path) -> None:
    packet(packets, 1, [1], 1.0)
    follower = EpochFollower(packets, checkpoint=checkpoint_of(tmp_path / "checkpoint", 0.5)).start()
    checkpoint_of(tmp_path / "checkpoint", 0.75)
    assert operator(packets, revert_to=0) == 2
    assert follower.scan() == 1
    assert follower.stalled == (
        f"epoch 2 cannot be built: {tmp_path / 'checkpoint'} was written anew after this server loaded it; restart this server"
    )


def test_packets_of_the_checkpoint_are_neither_committed_nor_needed(packets: Path) -> None:
    old = packet(packets, 1, [1], 1.0)
    packet(packets, 9, [2], 9.0)
    follower = EpochFollower(packets, since=5).start()
    assert follower.values(1, 2) == [0.0, 9.0] and old not in follower.log.history.packets
    newer = EpochFollower(packets, since=20, name="newer.jsonl").start()
    shutil.rmtree(packets / "s0" / "inc_20260101000009")
    assert newer.scan() == 1 and newer.values(2) == [0.0] and not newer.stalled
    assert EpochFollower(packets, since=20, name="newest.jsonl").start().epoch == 1


def test_a_packet_that_cannot_be_placed_any_more_is_voided(packets: Path) -> None:
    newer = packet(packets, 9, [1], 9.0)
    follower = EpochFollower(packets).start()
    shutil.rmtree(packets / newer)
    late = packet(packets, 5, [1], 5.0)
    assert follower.scan() == 2
    record = follower.log.history.records[-1]
    assert (record.add, record.void) == ((), (late,)) and "whose files are deleted" in record.why
    assert follower.values(1) == [9.0] and not follower.stalled


def test_a_log_that_is_damaged_ends_what_is_followed(packets: Path) -> None:
    follower = EpochFollower(packets).start()
    for second in (1, 2):
        packet(packets, second, [1], float(second))
        follower.scan()
    path = record_path(follower.log.directory, 3)
    path.write_bytes(path.read_bytes()[:-10])
    other = EpochFollower(packets, name="other.jsonl").start()
    assert other.epoch == 2 and other.values(1) == [1.0]
    assert str(path) in other.stalled
    packet(packets, 3, [1], 3.0)
    assert other.scan() == 2 and not record_path(follower.log.directory, 4).exists()


def test_a_damaged_log_goes_on_when_its_end_is_removed_and_servers_start_anew(packets: Path) -> None:
    before = EpochFollower(packets).start()
    for second in (1, 2, 3):
        packet(packets, second, [1], float(second))
        before.scan()
    path = record_path(before.log.directory, 3)
    path.write_bytes(path.read_bytes()[:-10])
    for epoch in (3, 4):
        record_path(before.log.directory, epoch).unlink()
    after = EpochFollower(packets, name="other.jsonl").start()
    after.scan()
    assert (after.epoch, after.values(1), after.stalled) == (3, [3.0], "")
    # It has epochs of the same numbers with other packets, and would put a record behind them that nobody else could read.
    packet(packets, 4, [1], 4.0)
    before.scan()
    assert before.epoch == 4 and not record_path(before.log.directory, 4).exists()
    assert str(record_path(before.log.directory, 4)) in before.stalled
    assert "starts all servers and trainers anew" in before.stalled
    after.scan()
    assert (after.epoch, after.values(1), after.stalled) == (4, [4.0], "")


def test_a_server_starts_although_a_damaged_record_comes_while_it_commits(
    packets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EpochFollower(packets).start()
    packet(packets, 1, [1], 1.0)
    follower = EpochFollower(packets, name="other.jsonl")
    torn, commit = record_path(follower.log.directory, 2), follower.log.commit

    def commit_behind(draft: Draft, by: Author, why: str = "") -> EpochRecord | None:
        torn.write_bytes(b'{"format":1')
        return commit(draft, by, why)

    monkeypatch.setattr(follower.log, "commit", commit_behind)
    follower.start()
    assert follower.epoch == 1 and str(torn) in follower.stalled
    monkeypatch.setattr(follower.log, "commit", commit)
    torn.unlink()
    assert follower.scan() == 2 and follower.values(1) == [1.0] and not follower.stalled


def test_a_file_that_comes_while_a_packet_is_committed_is_committed_later(
    packets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has checked it, and the time of the packet may be another with it."""
    name = packet(packets, 1, [1], 1.0)

    def verify_slowly(directory: Path, files: list[Path]) -> PacketInfo:
        info = verify_packet(directory, files)
        write_file(directory / "0_1.inc", START + 2, [2], 2.0)
        return info

    monkeypatch.setattr(committing, "verify_packet", verify_slowly)
    follower = EpochFollower(packets)
    follower.updater.scan()
    monkeypatch.undo()
    assert [file.name for file in follower.log.history.packets[name].files] == ["0_0.inc"]
    assert follower.values(1, 2) == [1.0, 0.0] and not follower.stalled
    assert follower.scan() == 2 and follower.values(1, 2) == [1.0, 2.0]


def test_a_server_of_which_no_epoch_can_be_built_waits(packets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = packet(packets, 1, [1], 1.0)
    EpochFollower(packets, name="other.jsonl").start()
    whole = (packets / name / "0_0.inc").read_bytes()
    (packets / name / "0_0.inc").unlink()
    follower = EpochFollower(packets)

    def mend(_seconds: float) -> bool:
        assert follower.epoch == 0 and name in follower.stalled
        (packets / name / "0_0.inc").write_bytes(whole)
        follower.updater._tried = (0, 0.0)
        return False

    monkeypatch.setattr(follower.updater.stopping, "wait", mend)
    follower.start()
    assert follower.values(1) == [1.0]


def test_a_server_of_which_no_epoch_can_be_built_can_be_stopped(packets: Path) -> None:
    name = packet(packets, 1, [1], 1.0)
    EpochFollower(packets, name="other.jsonl").start()
    (packets / name / "0_0.inc").unlink()
    follower = EpochFollower(packets)
    start = threading.Thread(target=follower.start)
    start.start()
    wait_until(lambda: follower.stalled, "it is stalled")
    follower.updater.stopping.set()
    start.join()
    assert follower.epoch == 0


def test_a_trainer_says_what_belongs_together(packets: Path) -> None:
    follower = EpochFollower(packets).start()
    committer = EpochCommitter(packets)
    names = [packet(packets, second, [1, second], float(second)) for second in (1, 2, 3)]
    assert follower.scan() == 2 and follower.values(1) == [0.0] and follower.updater.epochs().waiting == 3
    assert committer.commit(packets / name for name in names[:2]) == 3
    assert follower.scan() == 3 and follower.values(1, 2, 3) == [2.0, 2.0, 0.0]
    assert operator(packets, revert_to=2) == 4
    with pytest.raises(Superseded, match="expected epoch 3 to be the newest one, got epoch 4, which an operator has committed"):
        committer.commit([packets / names[2]])
    assert committer.refresh() == 4 and committer.commit([packets / names[2]]) == 5
    assert follower.scan() == 5 and follower.values(1, 2, 3) == [3.0, 0.0, 3.0]
    with pytest.raises(InvalidInput, match="one without inc_update_done"):
        committer.commit([write_packet(packets, 4, [4], 4.0)])
    assert committer.newest == 5


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["packet", "packet", "packet", "late", "grow", "void", "revert", "scan", "restart"]),
        st.integers(0, 20),
        st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True),
    ),
    max_size=14,
)


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_servers_that_saw_it_come_and_servers_that_start_have_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, list[int]]]
) -> None:
    """Rows are a function of the records: a server that saw all epochs come has at each of them what a restart has."""
    root = tmp_path_factory.mktemp("packets")
    follower = EpochFollower(root).start()
    made: dict[int, str] = {}
    for number, (what, where, signs) in enumerate(steps, 1):
        second = 100 + number if what != "late" else 50 - number
        if what in ("packet", "late"):
            made[second] = packet(root, second, signs, float(second))
        elif what == "grow" and made:
            at = sorted(made)[where % len(made)]
            path = root / made[at] / f"0_{number}.inc"
            write_file(path, START + at, signs, at + 0.5)
        elif what == "void" and made:
            operator(root, void=(made[sorted(made)[where % len(made)]],))
        elif what == "revert":
            operator(root, revert_to=max(0, follower.epoch - where))
        elif what == "restart":
            follower = EpochFollower(root, name=f"again_{number}.jsonl").start()
        follower.scan()
        assert follower.epoch == follower.log.newest and not follower.stalled
    fresh = EpochFollower(root, name="fresh.jsonl").start()
    assert fresh.epoch == follower.epoch == follower.log.newest and not fresh.stalled
    signs = list(range(13))
    for epoch in range(fresh.table.status().epoch_low, fresh.epoch + 1):
        if epoch >= follower.table.status().epoch_low:
            assert fresh.values(*signs, epoch=epoch) == follower.values(*signs, epoch=epoch)
    packets_now = sorted(fresh.log.history.packets.values(), key=lambda one: one.key)
    expected = dict.fromkeys(signs, 0.0)
    for one in packets_now:
        naive = EpochFollower(root, name="x.jsonl")
        layered = naive.updater._builder.build(1, {one.packet: one})
        assert layered.epoch == 1
        expected |= {sign: value for sign, value in zip(signs, naive.values(*signs), strict=True) if value}
    assert fresh.values(*signs) == [expected[sign] for sign in signs]
    assert DIM == 8
