"""Rows that packets delete: served, late, again after a restart, and as real Persia sees them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from persia.embedding_server.updates.pruning import Pruner, PruneRules
from persia.formats.bounds import Bounds
from persia.formats.sign_files import write_sign_file
from persia.writers import IncrementalDumper
from tests.support.persia_packets import DIM, START, Follower, finish, write_packet, write_signs
from tests.support.stepped_clock import SteppedClock
from tests.support.written import block, packets_in, read_packet

U64 = np.uint64


def signs(*numbers: int) -> np.ndarray:
    return np.array(numbers, U64)


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    return tmp_path / "packets"


@pytest.fixture
def dumper(packets: Path) -> Iterator[IncrementalDumper]:
    with IncrementalDumper(packets, seconds=1e6) as dumper:
        yield dumper


def test_a_packet_of_the_dumper_deletes_and_real_persia_sees_its_rows(packets: Path, dumper: IncrementalDumper) -> None:
    dumper.commit(*block(range(1, 6), 1.0, DIM))
    dumper.flush()
    follower = Follower(packets)
    dumper.delete(signs(2, 3, 99))
    dumper.commit(*block([3, 7], 2.0, DIM))  # the latest operation of a sign counts
    dumper.delete(signs(7))
    dumper.flush()
    follower.scan()
    assert follower.values([1, 2, 3, 4, 7]) == [1, 0, 2, 1, 0]
    _, absent, _ = follower.table.pin().rows(signs(2, 7, 99), DIM)
    assert absent == 3
    assert follower.expiring.deleted_rows == 1  # 7 and 99 had no row
    assert Follower(packets).values([1, 2, 3, 4, 7]) == [1, 0, 2, 1, 0]
    assert list(read_packet(packets_in(packets / "s0")[1])) == [3]  # the rows, which are all that real Persia sees


def test_a_packet_of_deletions_alone_has_a_file_of_rows_for_those_who_look_for_one(
    packets: Path, dumper: IncrementalDumper
) -> None:
    dumper.delete(signs(1))
    packet = dumper.flush()
    assert packet is not None
    assert sorted(path.name for path in packet.iterdir()) == ["0_0.del", "0_0.inc", "inc_update_done", "manifest.json"]
    assert read_packet(packet) == {}
    assert Follower(packets).packets == [f"s0/{packet.name}"]


def test_a_deletion_wins_over_an_older_row_that_comes_late(packets: Path) -> None:
    """And a row over an older deletion; a restart, which finds them in order, comes to the same."""
    finish(write_packet(packets, 1, [1, 2, 3], 1.0))
    write_signs(packets, 5, 1, 2)
    follower = Follower(packets)
    finish(write_packet(packets, 4, [1, 3], 4.0))
    finish(write_packet(packets, 8, [2], 8.0))
    follower.scan()
    write_signs(packets, 6, 2, 3)
    follower.scan()
    expected = [0, 8, 0]
    assert follower.values([1, 2, 3]) == Follower(packets).values([1, 2, 3]) == expected


def test_in_one_packet_deletions_come_after_rows(packets: Path) -> None:
    directory = write_packet(packets, 1, [1, 2], 1.0)
    write_signs(packets, 1, 2, name="0_0.del")
    follower = Follower(packets)
    assert follower.values([1, 2]) == [1, 0]
    write_sign_file(directory / "0_1.del", signs(1), START + 1)  # it grows: it is applied again as a whole
    follower.scan()
    assert follower.values([1, 2]) == Follower(packets).values([1, 2]) == [0, 0]


def test_a_broken_file_of_deletions_sets_the_whole_packet_aside(packets: Path) -> None:
    directory = write_packet(packets, 1, [1, 2], 1.0)
    write_signs(packets, 1, 2)
    path = directory / "0_0.del"
    path.write_bytes(path.read_bytes()[:-1])
    follower = Follower(packets)
    assert follower.values([1]) == [0]
    (reason,) = follower.updater.ledger.set_aside().values()
    assert "0_0.del at byte 35: expected 36 bytes for 1 signs, got 35" in reason


def test_old_packets_with_deletions_are_pruned(packets: Path) -> None:
    with IncrementalDumper(packets, seconds=1e6, clock=SteppedClock(float(START))) as dumper:
        dumper.commit(*block([1, 2], 1.0, DIM), ttl=1e6)
        dumper.delete(signs(3))
        first = dumper.flush()
    assert first is not None
    bounds = Bounds(START + 1)
    follower = Follower(packets, bounds, Pruner(packets, 1, PruneRules(before_checkpoint=True), lambda: bounds))
    (first / "0_1.del").touch()  # nothing that was read: the packet stays
    follower.updater.prune()
    assert first.exists()
    (first / "0_1.del").unlink()
    follower.updater.prune()
    assert not first.exists()
