"""What a packet is at each moment, and what follows from it: decisions, without a disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from persia.embedding_server.updates.ledger import Ledger, Settled, Status, TooLateError
from persia.errors import CorruptFile
from persia.formats.bounds import Bounds
from persia.formats.packet import REST_NS, Packet, PacketFile, key_at

ROOT = Path("/packets")
LATER_NS = 10 * REST_NS


def packet(second: int, *names: str, shard: int = 0, mtime_ns: int = 0) -> Packet:
    files = tuple(PacketFile(name, 100, mtime_ns) for name in names or ("0_0.inc",))
    return Packet(ROOT / f"s{shard}" / f"inc_2026010100{second:04d}", shard, files)


def applied(found: Packet, second: int, version: int = 1) -> Settled:
    return Settled(key_at(found, second), found, changes=1, version=version)


def ledger_with(*seconds: int) -> Ledger:
    ledger = Ledger(Bounds())
    for second in seconds:
        ledger.settle(applied(packet(second), second))
    return ledger


def newer(ledger: Ledger, second: int) -> list[str]:
    return [settled.packet.name[-1] for settled in ledger.newer_than(key_at(packet(second), second))]


def test_a_packet_without_its_marker_is_not_there_yet() -> None:
    found = packet(1)
    ledger = Ledger(Bounds())
    assert ledger.look_at(replace(found, files=())) is None
    assert ledger.look_at(found) == found
    assert ledger.status(found.directory) is Status.UNKNOWN


def test_a_packet_is_applied_once_and_again_as_a_whole_when_it_has_grown() -> None:
    ledger = ledger_with(1)
    assert ledger.look_at(packet(1)) is None
    assert ledger.is_settled(packet(1).directory)
    grown = packet(1, "0_0.inc", "0_1.inc")
    assert ledger.look_at(grown) == grown
    ledger.settle(applied(grown, 5, version=2))
    assert ledger.look_at(grown) is None
    assert [settled.key[0] for settled in ledger.applied] == [5]  # its place in the order is another now


def test_a_file_that_is_not_to_be_seen_for_a_while_changes_nothing() -> None:
    ledger = Ledger(Bounds())
    ledger.settle(applied(packet(1, "0_0.inc", "0_1.inc"), 1))
    assert ledger.look_at(packet(1)) is None


def test_what_an_earlier_run_applied_of_a_packet_comes_first_and_then_the_rest() -> None:
    """It counts even if the rest is broken."""
    ledger = Ledger(Bounds(), {packet(1).name: ["0_0.inc"]})
    grown = packet(1, "0_0.inc", "0_1.inc")
    part = ledger.look_at(grown)
    assert part == packet(1, "0_0.inc")
    ledger.settle(applied(part, 1))
    assert ledger.look_at(grown) == grown


def test_a_packet_of_the_checkpoint_is_old_and_in_nobodys_way() -> None:
    ledger = Ledger(Bounds.of([3]))
    assert ledger.is_in_checkpoint(packet(2), key_at(packet(2), 2))
    assert not ledger.is_in_checkpoint(packet(3), key_at(packet(3), 3))
    ledger.settle(Settled(key_at(packet(2), 2), packet(2)))
    assert ledger.status(packet(2).directory) is Status.OLD
    assert (ledger.applied, ledger.names_here(), newer(ledger, 1)) == ([], set(), [])
    assert [settled.packet for settled in ledger.settled()] == [packet(2)]
    ledger.forget([packet(2).directory])
    assert newer(ledger, 1) == []  # its rows are in the checkpoint: whoever is older is not late


def test_of_packets_that_come_in_any_order_the_newer_ones_count() -> None:
    ledger = ledger_with(5, 2, 4)
    assert [settled.key[0] for settled in ledger.applied] == [2, 4, 5]
    assert [newer(ledger, second) for second in (1, 3, 5, 6)] == [["2", "4", "5"], ["4", "5"], [], []]
    assert ledger.newest_applied == ledger.applied[-1]


def test_what_is_older_than_the_newest_packet_that_is_gone_is_too_late() -> None:
    ledger = ledger_with(2, 4, 6)
    assert ledger.forget([packet(4).directory]) == 1
    assert ledger.forget([packet(2).directory]) == 1  # 4 stays the newest of them
    assert ledger.status(packet(4).directory) is Status.UNKNOWN
    with pytest.raises(TooLateError, match="the packet is older than s0/inc_20260101000004, which") as late:
        newer(ledger, 3)
    assert late.value.until_restart
    assert newer(ledger, 5) == ["6"]
    assert ledger.forget([packet(9).directory]) == 0


def test_a_packet_that_is_refused_is_set_aside_and_tried_again() -> None:
    ledger = Ledger(Bounds())
    assert ledger.refuse(packet(1), OSError("Input/output error"), LATER_NS) == "Input/output error"
    assert ledger.refuse(packet(1), OSError("Input/output error"), LATER_NS) is None  # is said once
    assert ledger.set_aside() == {packet(1).name: "Input/output error"}
    assert ledger.status(packet(1).directory) is Status.SET_ASIDE
    assert ledger.look_at(packet(1)) == packet(1)  # what the system refused may pass by itself
    ledger.settle(applied(packet(1), 1))
    assert ledger.set_aside() == {}


@pytest.mark.parametrize(
    ("file", "mtime_ns", "again"),
    [
        ("0_0.inc", 0, False),  # broken, and at rest: it stays so
        ("0_0.inc", LATER_NS - REST_NS // 2, True),  # may be written just now, without another time
        ("../inc_20260101000009/0_0.inc", 0, True),  # it is a newer packet that is broken
    ],
)
def test_a_broken_packet_is_not_read_again_before_it_changes(file: str, mtime_ns: int, again: bool) -> None:
    found = packet(1, mtime_ns=mtime_ns)
    ledger = Ledger(Bounds())
    path = found.directory.parent / file.removeprefix("../") if file.startswith("..") else found.directory / file
    ledger.refuse(found, CorruptFile(str(path), "rows", "none", 0), LATER_NS)
    assert (ledger.look_at(found) == found) is again
    mended = packet(1, mtime_ns=mtime_ns + 1)
    assert ledger.look_at(mended) == mended


def test_a_late_packet_waits_for_the_next_start_or_for_its_neighbour() -> None:
    for until_restart in (True, False):
        ledger = ledger_with(2)
        ledger.refuse(packet(1), TooLateError(ledger.applied[0], until_restart), LATER_NS)
        assert (ledger.look_at(packet(1)) is None) is until_restart


def test_an_applied_packet_that_gets_a_broken_file_is_both() -> None:
    """As it was it is in the table; as it is it waits, and is not deleted."""
    ledger = ledger_with(1)
    grown = packet(1, "0_0.inc", "0_1.inc")
    ledger.refuse(grown, CorruptFile(str(grown.directory / "0_1.inc"), "rows", "none", 0), LATER_NS)
    assert ledger.status(grown.directory) is Status.SET_ASIDE
    assert ledger.applied[0].packet == packet(1)
    assert (ledger.settled(), ledger.is_settled(grown.directory)) == ([], False)
    assert ledger.look_at(packet(1)) is None  # the broken file is gone again
    assert ledger.status(grown.directory) is Status.APPLIED


def test_the_status_can_be_encoded_whatever_a_file_is_called() -> None:
    ledger = Ledger(Bounds())
    ledger.refuse(packet(1), OSError("no \udcff"), LATER_NS)
    assert ledger.set_aside()[packet(1).name] == "no \\udcff"


def test_it_says_what_it_is() -> None:
    ledger = ledger_with(1, 2)
    ledger.settle(Settled(key_at(packet(3), 3), packet(3)))
    ledger.forget([packet(1).directory])
    ledger.refuse(packet(4), OSError("x"), LATER_NS)
    assert repr(ledger) == (
        "<Ledger: 1 applied, newest s0/inc_20260101000002, 1 old, 1 set aside, newest gone s0/inc_20260101000001>"
    )
