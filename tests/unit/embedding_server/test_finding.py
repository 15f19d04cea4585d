"""Finding packets again and again: nothing that changes is overlooked, and what rests costs nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from persia.embedding_server.updates import finder
from persia.embedding_server.updates.finder import FULL_SCAN_SECONDS
from tests.support.persia_packets import START, Follower, finish, write_file, write_packet
from tests.support.stepped_clock import SteppedClock

LONG_AGO = (1_600_000_000, 1_600_000_000)
LATER = (1_600_000_001, 1_600_000_001)


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    return tmp_path / "packets"


def rest(packets: Path, since: tuple[int, int] = LATER) -> None:
    """As if nothing had happened for years."""
    for path in [*packets.glob("s*/inc_*"), *packets.glob("s*")]:
        os.utime(path, since)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def follower(packets: Path, clock: SteppedClock) -> Follower:
    """Has three packets that rest, and has looked at all of them a moment ago."""
    for second in (1, 2, 3):
        finish(write_packet(packets, second, [second], 1.0))
    rest(packets, LONG_AGO)
    return Follower(packets, clock=clock.monotonic)


@pytest.fixture
def looks(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The directories below the shard that are looked at."""
    seen: list[str] = []
    for name in ("stat", "scandir", "listdir"):
        real = getattr(os, name)

        def look(path: object, *arguments: object, _real: object = real, **options: object) -> object:
            if "/s0" in str(path):
                seen.append(str(path).rpartition("/")[2])
            return _real(path, *arguments, **options)  # type: ignore[operator]

        monkeypatch.setattr(os, name, look)
    follower.scan()
    seen.clear()
    yield seen
    monkeypatch.undo()


def test_a_scan_of_what_rests_looks_at_no_packet(follower: Follower, looks: list[str]) -> None:
    follower.scan()
    assert looks == []


def test_a_new_packet_costs_no_look_at_the_old_ones(packets: Path, follower: Follower, looks: list[str]) -> None:
    finish(write_packet(packets, 4, [4], 4.0))
    looks.clear()
    follower.scan()
    assert follower.values([1, 4]) == [1, 4]
    assert "inc_20260101000004" in looks
    assert not {f"inc_2026010100000{second}" for second in (1, 2, 3)} & set(looks)


def test_a_look_at_everything_does_not_look_into_what_rests(
    follower: Follower, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower.scan()
    clock.elapsed += FULL_SCAN_SECONDS
    monkeypatch.setattr(finder, "look_into", pytest.fail)
    follower.scan()


def test_a_marker_that_comes_late_is_found_by_the_next_scan(packets: Path, follower: Follower, looks: list[str]) -> None:
    """Nothing changes in the shard's directory then."""
    late = write_packet(packets, 4, [4], 4.0)
    rest(packets)
    for _ in range(3):
        follower.scan()
    assert follower.values([4]) == [0]
    finish(late)
    rest(packets)
    follower.scan()
    assert follower.values([4]) == [4]


def test_a_broken_packet_that_is_mended_in_place_is_found_by_the_next_scan(packets: Path, follower: Follower) -> None:
    directory = write_packet(packets, 4, [4], 4.0)
    os.truncate(directory / "0_0.inc", 20)
    finish(directory)
    rest(packets)
    for _ in range(3):
        follower.scan()
    assert len(follower.updater.ledger.set_aside()) == 1
    write_file(directory / "0_0.inc", START + 4, [4], 4.0)
    rest(packets)
    follower.scan()
    assert follower.values([4]) == [4]


def test_files_that_are_added_to_an_old_packet_are_found_some_time(
    packets: Path, follower: Follower, clock: SteppedClock, looks: list[str]
) -> None:
    write_packet(packets, 2, [7], 7.0, name="0_1.inc")
    os.utime(packets / "s0", LONG_AGO)
    follower.scan()
    assert follower.values([7]) == [0]
    clock.elapsed += FULL_SCAN_SECONDS
    follower.scan()
    assert follower.values([7]) == [7]


def test_a_packet_whose_shard_shows_no_change_is_found_some_time(
    packets: Path, follower: Follower, clock: SteppedClock
) -> None:
    finish(write_packet(packets, 4, [4], 4.0))
    rest(packets, LONG_AGO)
    follower.scan()
    assert follower.values([4]) == [0]
    clock.elapsed += FULL_SCAN_SECONDS
    follower.scan()
    assert follower.values([4]) == [4]


def test_a_broken_file_that_is_added_to_an_old_packet_and_mended(
    packets: Path, follower: Follower, clock: SteppedClock
) -> None:
    """From then on the packet is looked at by every scan."""
    file = write_packet(packets, 2, [7], 7.0, name="0_1.inc") / "0_1.inc"
    os.truncate(file, 20)
    rest(packets)
    clock.elapsed += FULL_SCAN_SECONDS
    follower.scan()
    assert len(follower.updater.ledger.set_aside()) == 1
    write_file(file, START + 2, [7], 7.0)
    rest(packets)
    follower.scan()
    assert follower.values([7]) == [7]
    assert follower.updater.ledger.set_aside() == {}


def test_files_that_are_added_to_a_new_packet_are_found_by_the_next_scan(packets: Path, follower: Follower) -> None:
    finish(write_packet(packets, 4, [4], 4.0))
    for _ in range(3):
        follower.scan()
    os.utime(packets / "s0", LONG_AGO)
    follower.scan()
    write_packet(packets, 4, [5], 5.0, name="0_1.inc")
    follower.scan()
    assert follower.values([4, 5]) == [4, 5]


def test_packets_that_came_within_a_tick_of_the_clock(packets: Path, follower: Follower) -> None:
    """The directory of the shard was listed and changed in the same moment: its stamp does not tell."""
    finish(write_packet(packets, 4, [4], 4.0))
    follower.scan()
    stamp = os.stat(packets / "s0").st_mtime_ns
    finish(write_packet(packets, 5, [5], 5.0))
    os.utime(packets / "s0", ns=(stamp, stamp))
    follower.scan()
    assert follower.values([4, 5]) == [4, 5]


def test_a_disk_that_comes_back_with_other_packets(packets: Path, follower: Follower) -> None:
    away = packets.with_name("away")
    os.rename(packets, away)
    follower.scan()
    finish(write_packet(away, 4, [4], 4.0))
    write_packet(away, 2, [7], 7.0, name="0_1.inc")
    rest(away, LONG_AGO)
    os.rename(away, packets)
    follower.scan()
    assert follower.values([4, 7]) == [4, 7]


def test_a_shard_that_is_deleted_in_the_middle_of_a_scan(
    packets: Path, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packets / "s1").mkdir()
    finish(write_packet(packets, 4, [4], 4.0, shard=2))
    real = finder.directories_in

    def listed(parent: Path, *arguments: Any) -> list[os.DirEntry[str]]:
        entries = real(parent, *arguments)
        if parent == packets:
            (packets / "s1").rmdir()
        return entries

    monkeypatch.setattr(finder, "directories_in", listed)
    follower.scan()
    assert follower.values([4]) == [4]


def test_a_disk_that_is_away_for_a_while(packets: Path, follower: Follower) -> None:
    """What was applied is not forgotten when all of it seems gone; it is when a part of it is."""
    away = packets.with_name("away")
    for path in (packets, packets / "s0"):
        os.rename(path, away)
        if path != packets:
            path.mkdir()  # as an empty mount point
        follower.scan()
        assert len(follower.updater.ledger.settled()) == 3
        shutil.rmtree(path, ignore_errors=True)
        os.rename(away, path)
        follower.scan()
        assert (follower.updater.packets_applied, follower.updater.ledger.set_aside()) == (3, {})
    shutil.rmtree(packets / "s0" / "inc_20260101000002")
    follower.scan()
    assert [settled.packet.name[-1] for settled in follower.updater.ledger.settled()] == ["1", "3"]
    assert follower.packets == ["s0/inc_20260101000001", "s0/inc_20260101000003"]
