"""Faults of Persia's in writing and loading checkpoints and packets; docs/persia-faults.md lists all of them."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia import _core
from persia.embedding_server.shard import ShardOptions, ShardServer
from persia.errors import CorruptFile
from persia.writers import IncrementalDumper, verify_packet, write_checkpoint
from tests.support.persia_packets import CONFIG, DIM, MIX, START, Follower, finish
from tests.support.reference import read_emb
from tests.support.servers import PATIENCE, EmbeddingServer
from tests.support.stepped_clock import SteppedClock
from tests.support.written import block, packets_in, rows_of

ALL = np.arange(1, 101, dtype=np.uint64)


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    return tmp_path / "packets"


def write_ones(directory: Path, shards: int, files: int = 2) -> Path:
    """A checkpoint of ALL, in which all numbers are 1."""
    rows = np.ones((len(ALL), DIM), np.float32)
    write_checkpoint(directory, [(ALL, rows)], shards=shards, files_per_shard=files, overwrite=True, workers=64)
    return directory


def load(checkpoint: Path, index: int = 0, count: int = 1) -> list[int]:
    """Places in ALL of which a server has the row."""
    shard = ShardServer(ShardOptions(index, count, checkpoint, workers=64))
    shard.load()
    assert shard.table is not None
    rows, _absent, _wrong_dim = shard.table.pin().rows(ALL, DIM)
    return np.flatnonzero(rows[:, 0]).tolist()


class RunningClock(SteppedClock):
    """A second passes with each look at it."""

    def time(self) -> float:
        self.now += 1
        return self.now


def test_fault_10_a_flipped_bit(packets: Path) -> None:
    """Persia's files have no checksums; here a file of the right length with a bit flipped in a float is refused."""
    with IncrementalDumper(packets, clock=SteppedClock(START)) as dumper:
        dumper.commit(*block([1, 2], value=3.0, dim=DIM))
    (packet,) = packets_in(packets / "s0")
    file = packet / "0_0.inc"
    whole = file.read_bytes()
    assert whole.count(struct.pack("<f", 3.0)) == 2 * DIM
    at = whole.index(struct.pack("<f", 3.0))
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    follower = Follower(packets)
    assert "CRC-32" in follower.updater.ledger.set_aside()[f"s0/{packet.name}"]
    assert follower.values([1, 2]) == [0, 0]
    file.write_bytes(whole)
    follower.scan()
    assert follower.values([1, 2]) == [3, 3]


def test_fault_11_optimizer_state_takes_no_memory() -> None:
    """Persia keeps the optimizer's state of each row in memory; here rows of real checkpoints take as much as bare ones."""
    loaded, bare = _core.TableBuilder(), _core.TableBuilder()
    with_state = 0
    for path in sorted(MIX.glob("ckpt/s*/*.emb")):
        loaded.load_emb(path)
        for row in read_emb(path.read_bytes())[0]:
            bare.put(np.array([row.sign], np.uint64), np.frombuffer(row.values, np.float32)[np.newaxis, : row.dim])
            with_state += len(row.values) > 4 * row.dim
    assert (loaded.rows, loaded.bytes) == (bare.rows, bare.bytes)
    assert with_state == bare.rows


def test_fault_11_of_a_packet_only_the_row_is_kept(packets: Path) -> None:
    """The same for packets, in which the state stands behind the row."""
    directory = packets / "s0" / "inc_20260101000001"
    directory.mkdir(parents=True)
    row = [1.0] * DIM + [9.0] * 3 * DIM
    data = struct.pack(f"<II{4 * DIM}fQQQ", 1, 4 * DIM, *row, DIM, 7, START)
    (directory / "0_0.inc").write_bytes(data)
    finish(directory)
    follower = Follower(packets)
    rows, absent, wrong_dim = follower.table.pin().rows(np.array([7], np.uint64), DIM)
    assert (rows.tolist(), absent, wrong_dim) == ([[1.0] * DIM], 0, 0)


def test_fault_13_signs_that_change_while_they_wait(packets: Path) -> None:
    """Persia writes no marker if a sign went in the meantime, and all is lost; here rows are copied when they are committed."""
    signs, rows = block(ALL.tolist(), value=1.0, dim=DIM)
    with IncrementalDumper(packets, clock=SteppedClock(START)) as dumper:
        dumper.commit(signs, rows)
        rows[:50] = np.nan  # the trainer evicts them
        dumper.commit(*block([1, 2], value=2.0, dim=DIM))
    (packet,) = packets_in(packets / "s0")
    assert verify_packet(packet).complete
    assert Follower(packets).values(ALL.tolist()) == [2.0] * 2 + [1.0] * 98


def test_fault_14_the_second_changes_while_a_packet_is_written(packets: Path) -> None:
    """Persia names the directory anew for each file, and marks only one of two; here a packet has one name and one time."""
    with IncrementalDumper(packets, rows_per_file=10, clock=RunningClock(START)) as dumper:
        dumper.commit(*block(ALL.tolist(), dim=DIM))
    (packet,) = packets_in(packets / "s0")
    info = verify_packet(packet)
    assert (info.files, info.rows, info.complete) == (10, 100, True)
    assert Follower(packets).values(ALL.tolist()) == [1] * 100


def test_fault_15_two_packets_in_one_second(packets: Path) -> None:
    """In Persia the second finds its names taken and is lost; here each has a directory of its own, in order."""
    with IncrementalDumper(packets, clock=SteppedClock(START)) as dumper:
        for value in (1.0, 2.0, 3.0):
            dumper.commit(*block([7, int(value)], value=value, dim=DIM))
            dumper.flush()
    follower = Follower(packets)
    assert len(follower.packets) == 3
    assert follower.values([7, 1, 2, 3]) == [3, 1, 2, 3]


def test_fault_17_tiny_checkpoints_become_ready(tmp_path: Path) -> None:
    """In Persia a loader that is done too early is overwritten by "loading", for ever; here few rows are served at once."""
    checkpoint = tmp_path / "checkpoint"
    write_checkpoint(checkpoint, [block([7], dim=DIM)], shards=3, files_per_shard=5)
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=checkpoint) as server:
        assert server.wait_ready().status().rows == 1
        assert server.status().state == "serving"


@pytest.mark.parametrize("damage", ["marker", "shard marker", "file gone", "file cut", "shard gone"])
def test_fault_18_a_broken_checkpoint_never_serves(tmp_path: Path, damage: str) -> None:
    """Persia stays in "loading", and the cause is lost; here the server ends with a line that names it."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(MIX / "ckpt", checkpoint)
    file = checkpoint / "s1" / "replica_1_shard_2.emb"
    match damage:
        case "marker":
            (checkpoint / "embedding_dump_done").unlink()
        case "shard marker":
            (checkpoint / "s0" / "embedding_dump_done").unlink()
        case "file gone":
            file.unlink()
        case "file cut":
            file.write_bytes(file.read_bytes()[:5000])
        case "shard gone":
            shutil.rmtree(checkpoint / "s1")
    server = EmbeddingServer(tmp_path, CONFIG, checkpoint=checkpoint)
    assert server.process.wait(PATIENCE) == 1
    assert str(checkpoint) in server.log()
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(("written", "served"), [(4, 2), (2, 4), (3, 2), (1, 3), (2, 2)])
def test_fault_19_a_checkpoint_of_another_number_of_shards(tmp_path: Path, written: int, served: int) -> None:
    """Persia's servers load s{their index}, whatever the count, and serve the wrong half; here each has exactly its rows."""
    checkpoint = write_ones(tmp_path / "checkpoint", written)
    shards = _core.shard_of(ALL, served)
    for index in range(served):
        assert load(checkpoint, index, served) == np.flatnonzero(shards == index).tolist()


def test_fault_19_shards_of_two_checkpoints(tmp_path: Path) -> None:
    """Persia looks only at the marker of its own shard; here shards that are not of one checkpoint are refused."""
    checkpoint = write_ones(tmp_path / "checkpoint", 2)
    other = write_ones(tmp_path / "other", 2, files=3)
    shutil.rmtree(checkpoint / "s1")
    shutil.copytree(other / "s1", checkpoint / "s1")
    for index in range(2):
        with pytest.raises(CorruptFile, match="s1/embedding_dump_done at byte 0: expected the counts of"):
            load(checkpoint, index, 2)


@pytest.mark.parametrize("marker", ["embedding_dump_done", "s0/embedding_dump_done"])
def test_fault_21_a_marker_that_is_being_written(tmp_path: Path, marker: str) -> None:
    """Persia makes the marker empty and fills it later; here no part of one passes for a marker."""
    checkpoint = write_ones(tmp_path / "checkpoint", 1)
    whole = (checkpoint / marker).read_bytes().rstrip()
    for length in range(len(whole) - 1 - len("00")):  # the last number may be shorter
        (checkpoint / marker).write_bytes(whole[:length])
        if not whole[:length].rstrip(b"0123456789").endswith(b"nanos_since_epoch: "):
            with pytest.raises(CorruptFile, match="embedding_dump_done at byte 0"):
                load(checkpoint)


def test_fault_21_a_checkpoint_over_an_older_one(tmp_path: Path) -> None:
    """Persia cannot dump twice into a directory; here the new one takes the place of the old one."""
    checkpoint = tmp_path / "checkpoint"
    write_checkpoint(checkpoint, [block([1000], dim=DIM)], shards=3)
    assert load(write_ones(checkpoint, 1)) == list(range(100))
    assert len(list(checkpoint.glob("s*"))) == 1


@pytest.mark.parametrize("signs", [[], [1], [1, 2]])
def test_fault_22_fewer_rows_and_files_than_workers(tmp_path: Path, packets: Path, signs: list[int]) -> None:
    """Persia divides the work by the workers, gets 0, and panics; here few or no rows are no special case."""
    write_checkpoint(tmp_path / "checkpoint", [block(signs, dim=DIM)], shards=2, files_per_shard=1, workers=64)
    assert load(tmp_path / "checkpoint") == [sign - 1 for sign in signs]
    with IncrementalDumper(packets, buffer_size=1, clock=SteppedClock(START)) as dumper:
        for sign in signs:
            dumper.commit(*block([sign], dim=DIM))
    assert Follower(packets).values([1, 2]) == [float(sign in signs) for sign in (1, 2)]


@pytest.mark.parametrize("kind", ["emb", "inc"])
def test_fault_23_a_file_that_is_cut_off_anywhere(tmp_path: Path, kind: str) -> None:
    """Persia takes a short read for the whole, with zeros for the rest; here any part of a file is refused, and named."""
    signs, rows = block(range(20), dim=3)
    path = tmp_path / f"file.{kind}"
    read: Any = _core.EmbReader if kind == "emb" else _core.IncReader
    _core.write_emb(path, [(signs, rows)]) if kind == "emb" else _core.write_inc(path, [(signs, rows)], START)
    whole = path.read_bytes()
    assert rows_of([(part[0], part[2].reshape(-1, 3)) for part in read(path)]) == rows_of([(signs, rows)])
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFile, match=f"file.{kind} at byte "):
            _core.TableBuilder().load_emb(path) if kind == "emb" else _core.Layer().load_inc(path)
