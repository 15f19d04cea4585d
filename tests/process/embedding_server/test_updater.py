"""The thread that follows packets: nothing that a disk or the system answers ends it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
import urllib.request
from pathlib import Path

import pytest

from persia.embedding_server.updates import watch
from tests.support.limits import memory_budget
from tests.support.persia_packets import CONFIG, Follower, finish, write_packet
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    return tmp_path / "packets"


def test_a_directory_that_cannot_be_looked_at_for_a_while(
    packets: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the disk answers, and whatever else goes wrong, the thread goes on; it says so once."""
    follower = Follower(packets)
    failed = threading.Event()
    failures: list[object] = []
    real = Path.is_dir

    def fail(path: Path) -> bool:
        if path != packets:
            return real(path)
        failures.append(path)
        if len(failures) > 3:
            failed.set()
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", fail)
        follower.thread.start()
        assert failed.wait(PATIENCE)
    finish(write_packet(packets, 1, [1], 1.0))
    wait_until(lambda: follower.packets, "the packet is applied")
    follower.thread.stop()
    assert sum("Stale file handle" in record.message for record in caplog.records) == 1


def test_no_notifications_are_said_once(
    packets: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where inotify's limits are used up, packets are found all the same."""

    class NoObserver:
        def schedule(self, *_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(watch, "Observer", NoObserver)
    packets.mkdir()
    follower = Follower(packets)
    follower.thread.start()
    for second in range(1, 4):
        finish(write_packet(packets, second, [1], 1.0))
        wait_until(lambda: len(follower.packets) == second, "the packet is applied")  # noqa: B023
    follower.thread.stop()
    assert sum("no notifications" in record.message for record in caplog.records) == 1


def test_room_is_made_for_rows_that_can_be_there_and_for_no_more(packets: Path) -> None:
    follower = Follower(packets)
    packet = write_packet(packets, 1, [1, 2, 3], 1.0)
    [path] = packet.glob("*.inc")
    path.write_bytes(b"\xff\xff\xff\xff" + path.read_bytes()[4:])
    finish(packet)
    with memory_budget(megabytes=256):
        follower.updater.scan()
    assert "got 4294967295" in follower.updater.ledger.set_aside()[f"s0/{packet.name}"]


def test_what_follows_packets_has_a_lower_priority_than_lookups(tmp_path: Path, packets: Path) -> None:
    """Also in a process that does not have the usual one."""
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=packets) as server:
        own = os.getpriority(os.PRIO_PROCESS, server.wait_ready().process.pid)
        tasks = [int(task.name) for task in Path(f"/proc/{server.process.pid}/task").iterdir()]
        wait_until(lambda: sum(_priority(task) == min(own + 10, 19) for task in tasks) >= 2, "they have it")


def _priority(task: int) -> int:
    try:
        return os.getpriority(os.PRIO_PROCESS, task)
    except ProcessLookupError:
        return 0


TOO_LATE = "the packet is older than s0/inc_20260101000002, which was applied and whose files have since been deleted"


@pytest.mark.parametrize("seen", [True, False])
def test_a_late_packet_whose_newer_neighbour_is_deleted_says_so_and_waits_for_the_next_start(packets: Path, seen: bool) -> None:
    """Which of its rows are older than the neighbour's nobody knows any more. seen: the server has found out before."""
    finish(write_packet(packets, 2, [1, 2], 2.0))
    finish(write_packet(packets, 4, [4], 4.0, shard=1))
    follower = Follower(packets)
    if seen:  # with another one there, it is not the whole disk that is away
        finish(write_packet(packets, 3, [3], 3.0))
        follower.scan()
    shutil.rmtree(packets / "s0" / "inc_20260101000002")
    if seen:
        follower.scan()
        assert len(follower.updater.ledger.applied) == 2
    finish(write_packet(packets, 1, [1, 3, 5], 1.0))
    for _ in range(3):
        follower.scan()
        assert TOO_LATE in follower.updater.ledger.set_aside()["s0/inc_20260101000001"]
    assert follower.values([1, 2, 4, 5]) == [2, 2, 4, 0]
    newer = [2, 3] if seen else [3]
    finish(write_packet(packets, 5, newer, 5.0))  # newer ones go on
    follower.scan()
    assert follower.values([1, 2, 3]) == [2, 5 if seen else 2, 5]
    again = Follower(packets)
    assert again.updater.ledger.set_aside() == {}
    assert again.values([1, 3, 4, 5]) == [1, 5, 4, 1]


def test_a_late_packet_while_the_disk_of_its_newer_neighbour_is_away(packets: Path, tmp_path: Path) -> None:
    finish(write_packet(packets, 2, [1, 2], 2.0, shard=1))
    follower = Follower(packets)
    os.rename(packets / "s1", tmp_path / "away")
    finish(write_packet(packets, 1, [1, 3], 1.0))
    follower.scan()
    assert TOO_LATE.replace("s0", "s1") in follower.updater.ledger.set_aside()["s0/inc_20260101000001"]
    os.rename(tmp_path / "away", packets / "s1")
    follower.scan()
    assert follower.values([1, 2, 3]) == [2, 2, 1]


def test_the_newest_packet_that_was_deleted_counts(packets: Path) -> None:
    for second in (1, 4, 6):
        finish(write_packet(packets, second, [second], 6.0))
    follower = Follower(packets)
    for second in (4, 1):
        shutil.rmtree(packets / "s0" / f"inc_2026010100000{second}")
        follower.scan()
    for second in (3, 5):
        finish(write_packet(packets, second, [second, 6], 1.0))
    follower.scan()
    assert list(follower.updater.ledger.set_aside()) == ["s0/inc_20260101000003"]
    assert follower.values([3, 4, 5, 6]) == [0, 6, 1, 6]


def test_a_late_packet_that_waits_is_not_read_again_and_again(packets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for second in (2, 3):
        finish(write_packet(packets, second, [second], 1.0))
    follower = Follower(packets)
    shutil.rmtree(packets / "s0" / "inc_20260101000002")
    finish(write_packet(packets, 1, [1], 1.0))
    follower.scan()
    assert len(follower.updater.ledger.set_aside()) == 1
    loads: list[object] = []
    monkeypatch.setattr("persia.embedding_server.updates.applier.load_packet", lambda *arguments, **_: loads.append(arguments))
    follower.scan()
    assert loads == []


def test_an_updater_shows_its_state(packets: Path) -> None:
    finish(write_packet(packets, 1, [1], 1.0))
    follower = Follower(packets)
    assert repr(follower.thread) == (
        f"<UpdateThread of {packets}: not alive, <Updater: 1 packets applied, <Ledger: 1 applied, newest "
        "s0/inc_20260101000001, 0 old, 0 set aside>, problems []>>"
    )


def test_a_journal_that_cannot_be_written_is_said_once(packets: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not with every packet; and for as long as it lasts."""
    packets.mkdir()
    (packets / ".applied").write_text("no directory")  # root may write everywhere, but not here
    for second in range(1, 6):
        finish(write_packet(packets, second, [second], 1.0))
    follower = Follower(packets)
    assert follower.values([1, 5]) == [1, 1]
    [problem] = follower.updater.problems.texts()
    assert "replica_0_of_1.jsonl: [Errno 20] Not a directory" in problem
    assert sum("Not a directory" in record.message for record in caplog.records) == 1
    (packets / ".applied").unlink()
    finish(write_packet(packets, 6, [6], 1.0))
    follower.scan()
    assert follower.updater.problems.texts() == []


def test_a_shard_that_cannot_be_read_is_in_the_status_and_in_a_metric(tmp_path: Path, packets: Path) -> None:
    finish(write_packet(packets, 1, [1], 1.0))
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=packets, arguments=["--metrics-port", "0"]) as server:
        server.wait_ready()
        match = re.search(r"metrics on (\S+)", server.log())
        assert match is not None
        url = match[1]

        def problems_counted() -> float:
            with urllib.request.urlopen(url, timeout=PATIENCE) as response:
                count = re.search(r"^persia_update_problems\{[^}]*\} (\S+)$", response.read().decode(), re.MULTILINE)
            assert count is not None
            return float(count[1])

        assert problems_counted() == 0
        for name in ("s1", "s2"):
            (packets / name).symlink_to(name)
        wait_until(lambda: any("/s2" in problem for problem in server.status().problems), "the status has both")
        [problem] = server.status().problems
        assert f"'{packets}/s1'" in problem
        assert f"'{packets}/s2'" in problem
        assert problems_counted() == 1
        finish(write_packet(packets, 2, [2], 2.0))
        server.wait_for_packets(2)
        for name in ("s1", "s2"):
            (packets / name).unlink()
        wait_until(lambda: not server.status().problems, "it is over")
        assert server.log().count("Too many levels of symbolic links") <= 4  # s1, both, s2: once each
