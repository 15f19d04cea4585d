"""Packets: their names, numbers and times, their manifest, and what verify_packet finds."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia._core import IncReader, write_inc
from persia.embedding_server.updates.applier import load_packet
from persia.errors import CorruptFile, InvalidInput, Unavailable
from persia.formats.packet import Packet, look_into, packet_name
from persia.writers import IncrementalDumper, PacketInfo, read_manifest, verify_packet
from persia.writers.packet_files import manifest_of
from persia.writers.packet_writer import PacketWriter
from tests.support.golden import golden
from tests.support.stepped_clock import SteppedClock
from tests.support.written import block, packets_in, read_packet, replay, rows_of

NOON = 1_795_176_000.0  # 2026-11-20 12:00:00 UTC


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local time that is not UTC, with summer time."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def write_packets(directory: Path, times: list[float], shard: int = 0) -> list[PacketInfo]:
    """A packet at each time, by one dumper; the value of its row is its number."""
    with IncrementalDumper(directory, shard_index=shard, clock=(clock := SteppedClock())) as dumper:
        for number, clock.now in enumerate(times):
            dumper.commit(*block([7], value=number))
            dumper.flush()
    return [verify_packet(packet) for packet in packets_in(directory / f"s{shard}")]


def names_of(packets: list[PacketInfo]) -> list[str]:
    return [Path(packet.directory).name for packet in packets]


def numbers_of(packets: list[PacketInfo]) -> list[int | None]:
    return [packet.manifest.sequence if packet.manifest else None for packet in packets]


def test_the_files_of_a_packet(tmp_path: Path) -> None:
    blocks = [block([1, 2], dim=4), block([3, 4, 5, 6, 7], dim=2)]
    with IncrementalDumper(tmp_path, shard_index=5, rows_per_file=3, clock=SteppedClock(NOON + 0.9)) as dumper:
        for signs, rows in blocks:
            dumper.commit(signs, rows)
    (packet,) = packets_in(tmp_path / "s5")
    assert packet.name == "inc_20261120130000"
    assert sorted(os.listdir(packet)) == ["5_0.inc", "5_1.inc", "5_2.inc", "inc_update_done", "manifest.json"]
    assert (packet / "inc_update_done").read_bytes() == b""
    assert read_packet(packet) == rows_of(blocks)
    manifest = json.loads((packet / "manifest.json").read_bytes())
    files = manifest.pop("files")
    assert manifest == {
        "format": 1, "packet": packet.name, "shard": 5, "sequence": 0, "unix_seconds": int(NOON), "rows": 7
    }  # fmt: skip
    assert [(file["name"], file["rows"]) for file in files] == [("5_0.inc", 3), ("5_1.inc", 3), ("5_2.inc", 1)]
    info = verify_packet(packet)
    assert (info.complete, info.files, info.rows, info.rows_by_dim) == (True, 3, 7, {2: 5, 4: 2})


def test_the_checksum_is_the_crc_of_all_bytes(tmp_path: Path) -> None:
    with IncrementalDumper(tmp_path, clock=SteppedClock(NOON)) as dumper:
        dumper.commit(*block(range(80_000)))
    (packet,) = packets_in(tmp_path / "s0")
    data = (packet / "0_0.inc").read_bytes()
    (file,) = read_manifest(packet / "manifest.json").files
    assert len(data) > 2 << 20 and (file.bytes, file.crc32) == (len(data), f"{zlib.crc32(data):08x}")


CLOCKS = {
    "two in one second": [NOON, NOON, NOON, NOON + 1],
    "set back": [NOON, NOON - 3600, NOON - 3599, NOON + 5],
    "the hour that comes twice": [1_792_888_200.0, 1_792_889_995.0, 1_792_890_005.0, 1_792_891_800.0],  # 2026-10-25, 02:30
    "the hour that is left out": [1_774_745_995.0, 1_774_746_005.0],
}


@pytest.mark.parametrize("times", CLOCKS.values(), ids=CLOCKS)
def test_names_stand_in_the_order_of_the_packets(times: list[float], tmp_path: Path) -> None:
    packets = write_packets(tmp_path, times)
    assert len(set(names_of(packets))) == len(times) and numbers_of(packets) == list(range(len(times)))
    seconds = [packet.unix_seconds for packet in packets]
    assert seconds == [int(max(times[: k + 1])) for k in range(len(times))]
    assert replay(tmp_path / "s0") == rows_of([block([7], value=len(times) - 1)])


def test_the_next_free_second(tmp_path: Path) -> None:
    (tmp_path / "s0" / "inc_20261120130002").mkdir(parents=True)  # of a trainer that is not ours
    packets = write_packets(tmp_path, [NOON, NOON + 10])
    assert names_of(packets) == ["inc_20261120130002", "inc_20261120130003", "inc_20261120130010"]
    assert packet_name(NOON, "inc_20261231235959") == "inc_20270101000000"
    with pytest.raises(InvalidInput, match="before the year 10000"):
        packet_name(NOON, "inc_99991231235959")


def test_a_name_that_somebody_takes_meanwhile_is_not_used(tmp_path: Path) -> None:
    with IncrementalDumper(tmp_path, clock=SteppedClock(NOON)) as dumper:
        (tmp_path / "s0" / "inc_20261120130000").mkdir()
        dumper.commit(*block([1]))
    assert [path.name for path in packets_in(tmp_path / "s0")] == ["inc_20261120130000", "inc_20261120130001"]


def test_a_restart_goes_on(tmp_path: Path) -> None:
    write_packets(tmp_path, [NOON, NOON + 1])
    packets = write_packets(tmp_path, [NOON - 100])
    assert numbers_of(packets) == [0, 1, 2] and packets[-1].unix_seconds == NOON + 1
    for packet in packets_in(tmp_path / "s0"):
        shutil.rmtree(packet)
    packets = write_packets(tmp_path, [NOON - 100])
    assert names_of(packets) == ["inc_20261120130003"] and numbers_of(packets) == [3]
    assert packets[-1].unix_seconds == NOON + 1


def test_a_restart_after_real_persia(tmp_path: Path) -> None:
    shard = golden("inc_update_done")[0].parent.parent
    shutil.copytree(shard, tmp_path / "s0")
    last = max(path.name for path in packets_in(tmp_path / "s0"))
    packets = write_packets(tmp_path, [NOON - 10 * 86_400])
    assert names_of(packets)[-2] == last and numbers_of(packets)[-2:] == [None, 0]


def test_a_restart_passes_a_broken_manifest_by(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_packets(tmp_path, [NOON, NOON + 1])
    (packets_in(tmp_path / "s0")[-1] / "manifest.json").write_text("{")
    (tmp_path / "s0" / ".writer" / "manifest.json").unlink()
    with IncrementalDumper(tmp_path, clock=SteppedClock(NOON)) as dumper:
        dumper.commit(*block([1]))
    assert "manifest.json at byte" in caplog.text
    newest = packets_in(tmp_path / "s0")[-1]
    assert newest.name == "inc_20261120130002" and read_manifest(newest / "manifest.json").sequence == 1


def test_shards_number_their_packets_apart(tmp_path: Path) -> None:
    assert numbers_of(write_packets(tmp_path, [NOON, NOON])) == [0, 1]
    assert numbers_of(write_packets(tmp_path, [NOON], shard=1)) == [0]


def test_a_shard_has_one_writer(tmp_path: Path) -> None:
    with IncrementalDumper(tmp_path), pytest.raises(Unavailable, match=r"expected one writer of .*s0"):
        IncrementalDumper(tmp_path)
    IncrementalDumper(tmp_path).close()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert numbers_of(write_packets(tmp_path, [NOON])) == [0]


def test_where_locks_do_not_hold_between_machines_the_last_writer_is_the_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    old, new = PacketWriter(tmp_path, 0, 1000), PacketWriter(tmp_path, 0, 1000)
    try:
        with pytest.raises(Unavailable, match="another one has begun since"):
            old.write([], NOON)
        assert packets_in(tmp_path / "s0") == []
        new.write([], NOON)
        assert len(packets_in(tmp_path / "s0")) == 1
    finally:
        old.close()
        new.close()


def test_a_writer_that_another_one_overtakes_while_it_writes_puts_no_packet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    old = PacketWriter(tmp_path, 0, 1000)
    written: list[PacketWriter] = []

    def overtaken(*arguments: Any) -> Any:
        written.append(PacketWriter(tmp_path, 0, 1000))
        return manifest_of(*arguments)

    monkeypatch.setattr("persia.writers.packet_writer.manifest_of", overtaken)
    with pytest.raises(Unavailable, match="another one has begun since"):
        old.write([], NOON)
    assert packets_in(tmp_path / "s0") == [] and len(written) == 1
    for writer in (old, *written):
        writer.close()


def test_what_a_killed_writer_has_left_is_removed(tmp_path: Path) -> None:
    write_packets(tmp_path, [NOON])
    left = tmp_path / "s0" / ".writer" / "packet-0123"
    left.mkdir()
    (left / "0_0.inc").write_bytes(b"half")
    write_packets(tmp_path, [NOON + 1])
    assert sorted(path.name for path in left.parent.iterdir()) == ["manifest.json", "writer"]


@pytest.mark.parametrize("marker", golden("inc_update_done"), ids=lambda path: "-".join(path.parts[-3:-1]))
def test_packets_of_persia_have_no_manifest(marker: Path) -> None:
    info = verify_packet(marker.parent)
    readers = [IncReader(path) for path in marker.parent.glob("*.inc")]
    assert info.manifest is None and info.complete
    assert info.rows == sum(reader.rows for reader in readers) == sum(info.rows_by_dim.values())


def changed(**values: Any) -> Any:
    def change(packet: Path) -> None:
        manifest = json.loads((packet / "manifest.json").read_bytes())
        (packet / "manifest.json").write_text(json.dumps(manifest | values))

    return change


def flip(packet: Path) -> None:
    data = bytearray((packet / "0_0.inc").read_bytes())
    data[10] ^= 1  # in a float, which no decoder can find
    (packet / "0_0.inc").write_bytes(data)


def truncate(packet: Path) -> None:
    os.truncate(packet / "0_0.inc", 30)


def file_of(**values: Any) -> dict[str, Any]:
    return {"name": "0_0.inc", "rows": 2, "bytes": 60, "crc32": "00000000"} | values


def more_rows_of_a_file(packet: Path) -> None:
    file = json.loads((packet / "manifest.json").read_bytes())["files"][0]
    changed(rows=3, files=[file | {"rows": 3}])(packet)


DAMAGE = {
    "a flipped bit": (flip, r"0_0.inc at byte 0: expected bytes of CRC-32 \w{8}, by the manifest, got \w{8}"),
    "a truncated file": (truncate, "0_0.inc at byte 30: expected 68 bytes, by the manifest, got 30"),
    "a longer file": (lambda p: os.truncate(p / "0_0.inc", 99), "0_0.inc at byte 68: expected 68 bytes, by the manifest, got"),
    "a missing file": (lambda p: (p / "0_0.inc").unlink(), "0_0.inc at byte 0: expected a file of 68 bytes"),
    "one file more": (lambda p: write_inc(p / "0_1.inc", [block([9])], 0), "0_1.inc at byte 0: expected only files that the"),
    "other rows": (changed(rows=3), "manifest.json at byte 0: expected files of 3 rows, got 2"),
    "another time": (changed(unix_seconds=1), f"0_0.inc at byte 60: expected 1 s, by the manifest, got {int(NOON)}"),
    "other rows of a file": (more_rows_of_a_file, "0_0.inc at byte 0: expected 3 rows, by the manifest, got 2"),
    "another format": (changed(format=3), r"manifest.json at byte 0: expected .* <= 2 - at `\$.format`"),
    "an unknown key": (changed(parent=1), "manifest.json at byte 0: .*unknown field `parent`"),
    "a path": (changed(files=[file_of(name="../x_0.inc")]), r"manifest.json at byte 0: .*at `\$.files\[0\].name`"),
    "a file twice": (changed(rows=4, files=[file_of(), file_of()]), "manifest.json at byte 0: expected each file once"),
    "no JSON": (lambda p: (p / "manifest.json").write_text('{"format": 1,}'), "manifest.json at byte 13: expected a manifest"),
    "no text": (lambda p: (p / "manifest.json").write_bytes(b'{"\xff": 1}'), "manifest.json at byte .: expected a manifest"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_found_and_named(damage: Any, message: str, tmp_path: Path) -> None:
    with IncrementalDumper(tmp_path, clock=SteppedClock(NOON)) as dumper:
        dumper.commit(*block([1, 2]))
    (packet,) = packets_in(tmp_path / "s0")
    assert verify_packet(packet).rows == 2
    damage(packet)
    with pytest.raises(CorruptFile, match=message) as caught:
        verify_packet(packet)
    assert Path(caught.value.file).parent == packet
    with pytest.raises(CorruptFile, match=message):
        load_packet(look_into(Packet(packet, 0)), "f32", (0, 1))


def test_a_file_of_deletions_is_held_against_the_manifest(tmp_path: Path) -> None:
    with IncrementalDumper(tmp_path, clock=SteppedClock(NOON)) as dumper:
        dumper.delete(np.array([1, 2], np.uint64))
    (packet,) = packets_in(tmp_path / "s0")
    load_packet(look_into(Packet(packet, 0)), "f32", (0, 1))
    files = json.loads((packet / "manifest.json").read_bytes())["files"]
    changed(files=[file | {"rows": 3} if file["name"].endswith(".del") else file for file in files])(packet)
    for look in (verify_packet, lambda path: load_packet(look_into(Packet(path, 0)), "f32", (0, 1))):
        with pytest.raises(CorruptFile, match=r"0_0\.del at byte 0: expected 3 rows, by the manifest, got 2"):
            look(packet)


def test_a_draft_is_seen_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real Persia takes any directory in s0 for a packet once it has a marker, and forgets it if it has none yet."""
    seen: list[list[str]] = []
    rename = os.rename

    def look(source: Path, target: Path) -> None:
        seen.append(sorted(path.name for path in (tmp_path / "s0").iterdir()))
        assert not (tmp_path / "s0" / ".writer" / "inc_update_done").exists()
        assert sorted(os.listdir(source)) == ["0_0.inc", "inc_update_done", "manifest.json"]
        rename(source, target)

    monkeypatch.setattr(os, "rename", look)
    write_packets(tmp_path, [NOON])
    assert seen == [[".writer"]]
