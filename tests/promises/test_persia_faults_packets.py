"""Faults of Persia's with packets that are broken, or that share a directory; docs/persia-faults.md lists all of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from persia.formats.packet import Packet, PacketKey, packet_key
from tests.support.persia_packets import CONFIG, START, Follower, finish, values, write_file, write_packet
from tests.support.servers import EmbeddingServer, wait_until


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    return tmp_path / "packets"


def break_packets(packets: Path) -> dict[str, str]:
    """One packet of each kind of damage; what the reason must name."""
    whole = [write_packet(packets, second, [second], 1.0) for second in range(1, 7)]
    cut, gone, directory, empty, noise, marker = whole
    write_packet(packets, 1, [11, 12], 1.0, name="0_1.inc")
    os.truncate(cut / "0_1.inc", 30)
    (gone / "0_1.inc").symlink_to(packets / "nowhere")
    (directory / "0_1.inc").mkdir()
    (empty / "0_1.inc").touch()
    (noise / "0_1.inc").write_bytes(np.random.default_rng(6).bytes(500))
    (marker / "manifest.json").write_text("{")
    for path in whole:
        finish(path)
    reasons = ["0_1.inc at byte ", "No such file", "0_1.inc", "0_1.inc at byte 0", "0_1.inc at byte ", "manifest.json at byte "]
    return {f"s0/{path.name}": reason for path, reason in zip(whole, reasons, strict=True)}


def test_fault_06_one_bad_file(tmp_path: Path, packets: Path) -> None:
    """Persia's server aborts; here the packet is set aside whole, named, and mended later, and all others are applied."""
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=packets) as server:
        server.wait_ready()
        reasons = break_packets(packets)
        finish(write_packet(packets, 9, [9], 9.0))
        for _ in range(2):
            status = server.wait_for_packets(1)
            wait_until(lambda: len(server.status().set_aside) == len(reasons), "all broken packets are set aside")
            status = server.status()
            assert all(reasons[packet.packet] in packet.reason for packet in status.set_aside), status.set_aside
            assert status.packets_applied == 1
            assert values(server, [*range(7), 9, 11, 12]) == [0] * 7 + [9, 0, 0]
            server.kill()
            server.start()  # and the same holds when they are there at the start
            server.wait_ready()
        for directory in (packets / "s0").iterdir():
            if (directory / "0_1.inc").is_dir():
                (directory / "0_1.inc").rmdir()
            (directory / "0_1.inc").unlink(missing_ok=True)
            (directory / "manifest.json").unlink(missing_ok=True)
        assert not server.wait_for_packets(7).set_aside
        assert values(server, [1, 2, 3, 4, 5, 6, 9]) == [1, 1, 1, 1, 1, 1, 9]


def test_fault_06_what_is_no_packet_at_all(packets: Path) -> None:
    """A pipe would be read for ever, a link to itself fails when it is looked at: they are named, and hold up nothing."""
    os.mkfifo(write_packet(packets, 1, [1], 1.0) / "0_1.inc")
    finish(packets / "s0" / "inc_20260101000001")
    (packets / "s0" / "inc_2").symlink_to("inc_2")
    (packets / "s0" / "inc_3").symlink_to("nowhere")
    finish(write_packet(packets, 4, [4], 4.0))
    follower = Follower(packets)
    assert sorted(follower.updater.ledger.set_aside()) == ["s0/inc_2", "s0/inc_20260101000001"]
    assert follower.values([1, 4]) == [0, 4]


def test_fault_06_a_broken_file_whose_name_is_no_text(tmp_path: Path, packets: Path) -> None:
    """A name may be any bytes; the status names it all the same."""
    directory = write_packet(packets, 1, [1], 1.0)
    os.rename(directory / "0_0.inc", os.fsencode(directory) + b"/0_\xff.inc")
    os.truncate(os.fsencode(directory) + b"/0_\xff.inc", 20)
    finish(directory)
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=packets) as server:
        [set_aside] = server.wait_ready().status().set_aside
        assert "0_\\udcff.inc at byte " in set_aside.reason


def test_fault_06_mended_within_a_tick_of_the_clock(packets: Path) -> None:
    """A file filled in place may have the same time and size when it is whole; here it is tried again until it rests."""
    directory = write_packet(packets, 1, [1, 2], 1.0)
    file = directory / "0_0.inc"
    whole, status = file.read_bytes(), file.stat()
    file.write_bytes(bytes(len(whole)))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    finish(directory)
    follower = Follower(packets)
    assert list(follower.updater.ledger.set_aside()) == ["s0/inc_20260101000001"]
    file.write_bytes(whole)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    follower.scan()
    assert follower.values([1, 2]) == [1, 1]


def test_fault_06_a_mended_packet_is_counted_when_it_is_no_longer_set_aside(
    packets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the count, and then reads what is set aside, must not find the packet there for a moment more."""
    directory = write_packet(packets, 1, [1], 1.0)
    (directory / "0_1.inc").mkdir()
    finish(directory)
    follower = Follower(packets)
    updater, when_counted = follower.updater, []
    monkeypatch.setattr(updater.delays, "observe", lambda _delay: when_counted.append(updater.ledger.set_aside()))
    (directory / "0_1.inc").rmdir()
    follower.scan()
    assert when_counted == [{}]
    assert updater.packets_applied == 1


def test_fault_06_a_broken_packet_that_is_deleted(packets: Path) -> None:
    """What an operator deletes is no longer reported."""
    directory = write_packet(packets, 1, [1], 1.0)
    os.truncate(directory / "0_0.inc", 20)
    finish(directory)
    follower = Follower(packets)
    assert len(follower.updater.ledger.set_aside()) == 1
    shutil.rmtree(directory)
    follower.scan()
    assert follower.updater.ledger.set_aside() == {}


def test_fault_06_the_journal_cannot_be_written(packets: Path) -> None:
    """A disk that is full or read-only must not stop updates: a restart finds the packets without a journal."""
    packets.mkdir()
    (packets / ".applied").write_text("no directory")  # root may write everywhere, but not here
    finish(write_packet(packets, 1, [1], 1.0))
    finish(write_packet(packets, 2, [2], 2.0))
    assert Follower(packets).values([1, 2]) == [1, 2]


def test_fault_15_a_second_packet_in_the_directory_of_the_first(tmp_path: Path, packets: Path) -> None:
    """Persia applies half of two packets of one second, and no more; here files that come after the marker are applied."""
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=packets) as server:
        server.wait_ready()
        finish(write_packet(packets, 1, [1, 2], 1.0))
        server.wait_for_packets(1)
        write_packet(packets, 1, [2, 3], 2.0, name="0_1.inc")
        server.wait_for_packets(2)
        assert values(server, [1, 2, 3]) == [1, 2, 2]


def test_fault_15_files_that_come_later_end_in_the_rows_of_a_restart(packets: Path) -> None:
    """Files of one directory may be of two seconds, with a packet in between; a restart must come to the same rows."""
    finish(write_packet(packets, 1, [1, 2], 1.0, name="0_1.inc"))
    follower = Follower(packets)
    finish(write_packet(packets, 2, [1, 2, 3], 2.0, shard=1))
    follower.scan()
    for name, second, value in [("0_2.inc", 3, 3.0), ("0_0.inc", 1, 4.0)]:
        write_file(packets / "s0" / "inc_20260101000001" / name, START + second, [2, 3], value)
        follower.scan()
        assert Follower(packets).values([1, 2, 3]) == follower.values([1, 2, 3])
    assert follower.values([1, 2, 3]) == [1, 3, 3]


def test_fault_15_a_second_packet_that_is_broken_does_not_take_the_first_with_it(packets: Path) -> None:
    """The trainer dies while it writes more files to a packet that was complete; a restart still serves what was complete."""
    directory = write_packet(packets, 1, [1], 1.0)
    finish(directory)
    follower = Follower(packets)
    write_packet(packets, 1, [2], 2.0, name="0_1.inc")
    os.truncate(directory / "0_1.inc", 30)
    follower.scan()
    for _ in range(3):
        assert follower.values([1, 2]) == [1, 0]
        assert list(follower.updater.ledger.set_aside()) == ["s0/inc_20260101000001"]
        follower = Follower(packets)
    write_packet(packets, 1, [2], 2.0, name="0_1.inc")
    follower.scan()
    assert follower.values([1, 2]) == [1, 2] == Follower(packets).values([1, 2])


def test_fault_15_a_file_that_is_written_while_it_is_looked_at(packets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a file ends in any bytes but its time; what was read of it then must not put the packet into another place."""
    packets.mkdir()
    follower = Follower(packets)
    finish(write_packet(packets, 2, [1], 2.0))
    follower.scan()
    directory = write_packet(packets, 1, [1, 2], 1.0)
    whole = (directory / "0_0.inc").read_bytes()
    os.truncate(directory / "0_0.inc", 30)  # ends in floats
    finish(directory)

    def key_of_half(packet: Packet) -> PacketKey:
        key = packet_key(packet)
        assert key[0] > START + 2
        (directory / "0_0.inc").write_bytes(whole)
        return key

    with monkeypatch.context() as patch:
        patch.setattr("persia.embedding_server.updates.follower.packet_key", key_of_half)
        follower.scan()
    assert follower.values([1, 2]) == [2, 1]
