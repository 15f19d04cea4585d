"""Rows with a time to live, from packets and from checkpoints: they go in time, and do not come back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from persia import _core
from persia.embedding_server.expiry import Expiring
from persia.embedding_server.options import ShardOptions
from persia.embedding_server.shard import ShardServer
from persia.embedding_server.tools.resharding import reshard
from persia.errors import CorruptFile, InvalidInput
from persia.formats.sign_files import read_sign_file
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.persia_packets import CONFIG, DIM, Follower, finish, values, write_packet, write_signs
from tests.support.servers import EmbeddingServer, wait_until
from tests.support.written import block

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


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_rows_go_when_their_time_is_over_and_not_before() -> None:
    clock = Clock(100.0)
    table = _core.Table(_core.TableBuilder())
    expiring = Expiring(table, "f32", clock)

    def put(value: float, *numbers: int, end: int | None = None) -> None:
        layer = _core.Layer()
        layer.put(signs(*numbers), np.full((len(numbers), 2), value, np.float32))
        if end is not None:
            layer.set_ends(signs(*numbers), np.full(len(numbers), end, U64))
        expiring.publish(layer)

    def there() -> list[float]:
        return [float(row[0]) for row in table.pin().rows(signs(1, 2, 3, 4), 2)[0]]

    put(1.0, 1, 2, 3, end=110)
    put(1.0, 4, end=100)  # is over already: it is never served
    assert there() == [1, 1, 1, 0]
    put(2.0, 1)  # a row without an end clears it
    put(2.0, 2, end=120)
    assert (expiring.rows, expiring.sweep()) == (2, 0)
    clock.now = 110.5
    assert expiring.sweep() == 1
    assert there() == [2, 2, 0, 0]
    clock.now = 200
    layer = _core.Layer()
    layer.add_tombstones(signs(2))
    expiring.publish(layer)
    assert expiring.sweep() == 0 and there() == [2, 0, 0, 0]
    assert (expiring.rows, expiring.deleted_rows, expiring.expired_rows) == (0, 1, 1)
    put(5.0, 1, end=150)  # replaces a row, and has ended
    assert there() == [0, 0, 0, 0] and expiring.expired_rows == 2
    assert table.wait_folded(20) and there() == [0, 0, 0, 0]


def test_a_sweep_that_fails_tries_again() -> None:
    class Full:
        """A table without room for a layer."""

        def __init__(self, table: _core.Table) -> None:
            self.pin = table.pin

        def publish(self, _layer: _core.Layer) -> int:
            raise MemoryError

    clock = Clock(100.0)
    table = _core.Table(_core.TableBuilder())
    expiring = Expiring(table, "f32", clock)
    expiring.set(signs(1, 2), signs(50, 60), (0, 1))
    expiring._table = Full(table)  # type: ignore[assignment]
    with pytest.raises(MemoryError):
        expiring.sweep()
    assert expiring.rows == 2
    expiring._table = table
    expiring.sweep()
    assert expiring.rows == 0


def test_the_thread_is_woken_by_the_first_row_with_an_end() -> None:
    table = _core.Table(_core.TableBuilder())
    expiring = Expiring(table, "f32")
    expiring.start()
    try:
        for number in (1, 2):  # and by the next, when there is none left
            expiring.set(signs(number), signs(5), (0, 1))
            wait_until(lambda: expiring.rows == 0, "the row has ended")
    finally:
        expiring.stop()


def test_ends_are_of_the_packets_own_rows(packets: Path) -> None:
    """What a .ttl says of a sign that its packet has no row of is passed over, and so is an older end of a newer row."""
    finish(write_packet(packets, 1, [1, 2], 1.0))
    write_signs(packets, 2, 1, ends=7)
    follower = Follower(packets)
    assert follower.values([1, 2]) == [1, 1]
    write_signs(packets, 1, 1, 2, ends=7)  # now those of the first packet are over
    finish(write_packet(packets, 3, [2], 3.0))
    follower.scan()
    assert follower.values([1, 2]) == Follower(packets).values([1, 2]) == [0, 3]


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), [1.0], [[1.0], [1.0]], 1e10])
def test_times_to_live_that_are_none_are_refused(dumper: IncrementalDumper, ttl: object) -> None:
    with pytest.raises(InvalidInput, match=r"expected (times|one time) to live"):
        dumper.commit(*block([1, 2]), ttl=ttl)
    assert dumper.flush() is None


def test_a_servers_rows_end_and_do_not_come_back(tmp_path: Path, packets: Path) -> None:
    """Two shards, a checkpoint with times to live, packets with them, restarts; status and metrics count."""
    now = int(time.time())
    checkpoint = tmp_path / "checkpoint"
    long, short = np.arange(1, 11, dtype=U64), np.arange(11, 21, dtype=U64)
    ttl = [(long, 1e6), (short, 10.0)]
    moment = datetime.fromtimestamp(now - 60)
    write_checkpoint(checkpoint, [block(range(1, 31), 1.0, DIM)], shards=2, files_per_shard=2, ttl=ttl, datetime=moment)
    every = list(range(1, 41))
    servers = [
        EmbeddingServer(
            tmp_path,
            CONFIG,
            checkpoint=checkpoint,
            incremental_dir=packets,
            index=i,
            count=2,
            arguments=["--metrics-port", "0"],
        )
        for i in range(2)
    ]

    def rows() -> list[float]:
        return [max(both) for both in zip(*(values(server, every) for server in servers), strict=True)]

    def restart() -> list[float]:
        for server in servers:
            server.kill()
            server.start()
        assert all(server.wait_ready() for server in servers)
        return rows()

    try:
        assert all(server.wait_ready() for server in servers)
        assert rows() == [1.0] * 10 + [0.0] * 10 + [1.0] * 10 + [0.0] * 10
        with IncrementalDumper(packets, seconds=1e6) as dumper:
            dumper.commit(*block(range(15, 25), 2.0, DIM), ttl=1e6)
            dumper.commit(*block(range(31, 36), 3.0, DIM), ttl=0.001)
            dumper.delete(np.array([1, 2], U64))
        expected = [0.0] * 2 + [1.0] * 8 + [0.0] * 4 + [2.0] * 10 + [1.0] * 6 + [0.0] * 10
        wait_until(lambda: rows() == expected, "rows are deleted, and those of a moment are over")
        # A packet is counted a moment after its rows are served.
        wait_until(lambda: sum(server.status().deleted_rows for server in servers) == 2, "the deleted rows are counted")
        statuses = [server.status() for server in servers]
        counted = [server.metrics(r"persia_(deleted|expired|non_finite)_rows_total\{[^}]*\} (\S+)") for server in servers]
        assert {name for each in counted for name, _ in each} == {"deleted", "expired", "non_finite"}
        assert sum(float(value) for each in counted for name, value in each if name == "deleted") == 2
        assert sum(float(value) for each in counted for name, value in each if name == "expired") == sum(
            status.expired_rows for status in statuses
        )
        assert restart() == expected
    finally:
        for server in servers:
            server.kill()


def test_a_row_ends_in_a_server_that_follows_no_packets(tmp_path: Path) -> None:
    """By the thread, or before it is ready where it takes longer to start than the row has left."""
    checkpoint = tmp_path / "checkpoint"
    write_checkpoint(checkpoint, [block([1, 2], 1.0, DIM)], shards=1, ttl=[(signs(2), 3.0)])
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=checkpoint) as server:
        server.wait_ready()
        wait_until(lambda: values(server, [1, 2]) == [1, 0], "the row has ended")
        assert server.status().expired_rows == 1
        assert server.status().deleted_rows == 0
        assert "1 rows have ended" in server.log()


def test_an_older_checkpoint_is_replaced_with_its_ends(tmp_path: Path) -> None:
    for ttl in ([(signs(2), 5.0)], []):
        write_checkpoint(tmp_path / "c", [block([1, 2], 1.0, DIM)], shards=1, files_per_shard=1, ttl=ttl, overwrite=True)
        assert (tmp_path / "c" / "s0" / "replica_0_shard_0.ttl").exists() == bool(ttl)
    shutil.rmtree(tmp_path / "c")
    with pytest.raises(InvalidInput, match="expected a row for each time to live, got none for sign 3"):
        write_checkpoint(tmp_path / "c", [block([1, 2], 1.0, DIM)], shards=1, ttl=[(signs(3), 5.0)])
    with pytest.raises(InvalidInput, match="expected each sign once, got 2 twice, for the times to live"):
        write_checkpoint(tmp_path / "c", [block([1, 2])], shards=1, ttl=[(signs(2), 5.0), (signs(2), 6.0)])


@pytest.mark.parametrize("shards", [1, 3])
def test_resharding_keeps_ends(tmp_path: Path, shards: int) -> None:
    given = block(range(1, 101), 1.0, DIM)
    limited = np.arange(1, 101, 3, dtype=U64)
    write_checkpoint(tmp_path / "c", [given], shards=2, files_per_shard=2, ttl=[(limited, limited.astype(float))])
    reshard(tmp_path / "c", tmp_path / "d", shards=shards)

    def ends(directory: Path) -> dict[int, int]:
        found: dict[int, int] = {}
        for path in directory.glob("s*/*.ttl"):
            file = read_sign_file(path)
            assert file.ends is not None and path.with_suffix(".emb").exists()
            assert set(_core.shard_of(file.signs, len(list(directory.glob("s*")))).tolist()) == {int(path.parent.name[1:])}
            found |= zip(file.signs.tolist(), file.ends.tolist(), strict=True)
        return found

    assert ends(tmp_path / "c") == ends(tmp_path / "d") and list(sorted(ends(tmp_path / "d"))) == limited.tolist()


def test_a_checkpoint_with_a_broken_file_of_ends_is_not_loaded(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c", [block([1])], shards=1, files_per_shard=1, ttl=[(signs(1), 5.0)])
    path = tmp_path / "c" / "s0" / "replica_0_shard_0.ttl"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptFile, match=r"replica_0_shard_0.ttl at byte 40: expected bytes of CRC-32"):
        ShardServer(ShardOptions(0, 1, checkpoint=tmp_path / "c")).load()
