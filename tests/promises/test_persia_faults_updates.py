"""Faults of Persia's that lose, mix up or never see updates; docs/persia-faults.md lists all of them."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia import _core
from persia.writers import write_checkpoint
from tests.support.persia_packets import CONFIG, DIM, START, Follower, finish, values, write_file, write_packet
from tests.support.servers import EmbeddingServer, wait_until


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    return tmp_path / "packets"


def test_fault_01_marker_later_than_the_scan(tmp_path: Path, packets: Path) -> None:
    """Persia never looks again at a directory it saw without a marker; here a packet waits for its marker, however late."""
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=packets) as server:
        server.wait_ready()
        late = write_packet(packets, 1, [1, 2], 1.0)
        finish(write_packet(packets, 2, [2, 3], 2.0))
        server.wait_for_packets(1)
        assert values(server, [1, 2, 3]) == [0, 2, 2]
        finish(late)
        assert server.wait_for_packets(2).last_packet == "s0/inc_20260101000002"
        # It is older than the packet that was applied already: of the row that both have, the newer value stays.
        assert values(server, [1, 2, 3]) == [1, 2, 2]


@pytest.mark.parametrize("call", ["listdir", "scandir", "stat"])
def test_fault_01_and_04_an_error_while_listing(call: str, packets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Persia forgets a packet whose directory could not be listed once; here the next scan finds it."""
    packets.mkdir()
    follower = Follower(packets)
    finish(write_packet(packets, 1, [1], 1.0, shard=1))
    finish(write_packet(packets, 2, [2], 2.0))
    real = getattr(os, call)

    def fail(path: Any, *args: Any, **options: Any) -> Any:
        if "s1" in str(path):
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        if call == "scandir":  # all of the shard is not there
            with pytest.raises(OSError, match="Input/output error"):
                follower.scan()
        else:
            follower.scan()
            assert list(follower.updater.ledger.set_aside()) == ["s1/inc_20260101000001"]
        assert follower.values([1, 2]) == [0, 2]  # the other one did not have to wait
    follower.scan()
    assert follower.values([1, 2]) == [1, 2]
    assert follower.updater.ledger.set_aside() == {}


def test_fault_01_marker_while_the_directory_is_listed(packets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list may lack a file that came after it was begun and yet have the marker; here a packet is only seen whole."""
    packets.mkdir()
    follower = Follower(packets)
    directory = write_packet(packets, 1, [1], 1.0)
    real = os.listdir

    def slow(path: Any) -> list[str]:
        names = real(path)
        if not (directory / "inc_update_done").exists():
            write_packet(packets, 1, [2], 1.0, name="0_1.inc")
            finish(directory)
        return [*names, "inc_update_done"]

    monkeypatch.setattr(os, "listdir", slow)
    follower.scan()
    assert follower.values([1, 2]) in ([0, 0], [1, 1])
    finish(write_packet(packets, 1, [2], 1.0, name="0_1.inc"))
    follower.scan()
    assert follower.values([1, 2]) == [1, 1]


def test_fault_02_packets_that_are_there_at_the_start(tmp_path: Path, packets: Path) -> None:
    """Persia ignores them, so that a restart falls back to the checkpoint; here a restart ends in the same rows."""
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=packets) as server:
        server.wait_ready()
        finish(write_packet(packets, 1, [1, 2], 1.0))
        finish(write_packet(packets, 2, [2, 3], 2.0, shard=1, name="1_0.inc"))
        server.wait_for_packets(2)
        server.kill()
        finish(write_packet(packets, 3, [3], 3.0))
        server.start()
        server.wait_ready()
        assert server.status().packets_applied == 3
        assert values(server, [1, 2, 3]) == [1, 2, 3]


def test_fault_03_no_directory_at_the_start(tmp_path: Path, packets: Path) -> None:
    """Persia stops scanning for good if there is no directory; here packets are found once there is, and after it was away."""
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=packets) as server:
        server.wait_ready()
        assert not packets.exists()
        finish(write_packet(packets, 1, [1], 1.0))
        server.wait_for_packets(1)
        shutil.rmtree(packets)
        finish(write_packet(packets, 2, [2], 2.0))
        server.wait_for_packets(2)
        assert values(server, [1, 2]) == [1, 2]


def test_fault_04_the_marker_cannot_be_looked_at(packets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Persia takes any failure for "no such file" and with fault 1 loses the packet; here it is named, and tried again."""
    packets.mkdir()
    follower = Follower(packets)
    finish(write_packet(packets, 1, [1], 1.0))

    def fail(_: Path) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", fail)
        follower.scan()
        assert "Input/output error" in follower.updater.ledger.set_aside()["s0/inc_20260101000001"]
    follower.scan()
    assert follower.values([1]) == [1]


def test_fault_05_newer_values_stay_whatever_the_order_of_arrival(packets: Path) -> None:
    """Persia inserts as its threads come to it; here the newest value counts, across shards, scans, and restarts."""
    packets.mkdir()
    follower = Follower(packets)
    order = np.random.default_rng(5).permutation(40)
    for k, second in enumerate(order.tolist()):
        signs = [7, second, second + 1, second + 2]
        finish(write_packet(packets, second, signs, float(second + 1), shard=second % 3))
        if k % 4 == 3:  # so some come to a scan together, and some after newer ones
            follower.scan()
    signs = list(range(42))
    want = [float(min(sign, 39) + 1) for sign in signs]
    want[7] = 40.0
    assert follower.values(signs) == want
    assert Follower(packets).values(signs) == want
    assert [int(name[-4:]) for name in follower.packets] == list(range(40))


def test_fault_07_clock_of_the_trainer_ahead(packets: Path) -> None:
    """Persia's delay wraps around to 1.8e19 s; here it is never negative, and the packet is applied at once."""
    packets.mkdir()
    follower = Follower(packets)
    now = int(time.time())
    for second, seconds in enumerate([now - 100, now + 3600, 2**63]):
        directory = write_packet(packets, second, [], 0.0)
        write_file(directory / "0_0.inc", seconds, [second], 1.0)
        finish(directory)
    follower.scan()
    assert follower.values([0, 1, 2]) == [1, 1, 1]
    delays = follower.updater.delays
    assert delays.counts[0] == sum(delays.counts) - 1 == 2
    assert 100 <= delays.seconds < 3600


def test_fault_08_another_number_of_training_shards(tmp_path: Path, packets: Path) -> None:
    """Persia reads only s{its own index}; here every shard takes its signs out of the packets of all."""
    signs = list(range(1, 400))
    finish(write_packet(packets, 1, signs[:200], 1.0, shard=0))
    finish(write_packet(packets, 1, signs[200:], 1.0, shard=5, name="5_0.inc"))
    shards = _core.shard_of(np.array(signs, np.uint64), 2)
    for index in range(2):
        with EmbeddingServer(tmp_path, CONFIG, incremental_dir=packets, index=index, count=2) as server:
            server.wait_ready()
            assert values(server, signs) == (shards == index).astype(float).tolist()
            assert server.status().rows == int((shards == index).sum())


def test_fault_09_versions_are_not_mixed_in_an_answer(tmp_path: Path, packets: Path) -> None:
    """Persia shows packets row by row; here all rows of an answer are of one version, while packets of many rows land."""
    signs = np.arange(40_000, dtype=np.uint64)
    asked = signs[::-7].copy()
    count = 25

    def train() -> None:
        for second in range(1, count + 1):
            for part, name in enumerate(["0_0.inc", "0_1.inc"]):
                write_packet(packets, second, signs[part::2].tolist(), float(second), name=name)
            finish(packets / "s0" / f"inc_2026010100{second:04d}")

    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=packets) as server:
        server.wait_ready()
        trainer = threading.Thread(target=train)
        trainer.start()
        seen: dict[int, float] = {}

        def look() -> bool:
            rows, response = server.rows(asked, DIM)
            first = float(rows[0, 0])
            assert (rows == first).all(), f"an answer of version {response.version} has {np.unique(rows)}"
            assert seen.setdefault(response.version, first) == first
            return first == count

        wait_until(look, "the last packet is served")
        trainer.join()
        assert [seen[version] for version in sorted(seen)] == sorted(set(seen.values()))


def test_fault_12_a_scan_does_not_look_into_old_packets(packets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Persia's packets are never deleted, and each scan costs more; here a packet that rests is not looked into again."""
    for second in range(200):
        directory = write_packet(packets, second, [second], 1.0)
        finish(directory)
        os.utime(directory, (1_600_000_000, 1_600_000_000))
    follower = Follower(packets)
    follower.scan()
    looks: list[str] = []
    real = os.listdir

    def look(path: Any) -> list[str]:
        looks.append(str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", look)
    follower.scan()
    assert looks == []
    finish(write_packet(packets, 200, [200], 1.0))
    follower.scan()
    assert len(looks) == 1
    assert follower.values([0, 200]) == [1, 1]


def test_fault_20_rows_of_the_checkpoint_and_of_packets(tmp_path: Path, packets: Path) -> None:
    """In Persia both are inserted at once, and the later insert wins; here packets count over an older checkpoint only."""
    signs = np.arange(50_000, dtype=np.uint64)
    checkpoint = tmp_path / "checkpoint"
    moment = datetime.fromtimestamp(START + 5)
    write_checkpoint(checkpoint, [(signs, np.full((len(signs), DIM), 5, np.float32))], shards=1, datetime=moment)
    for second in (4, 5, 6):
        finish(write_packet(packets, second, [second, 7], float(10 + second)))
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=checkpoint, incremental_dir=packets) as server:
        server.wait_ready()
        assert values(server, [3, 4, 5, 6, 7]) == [5, 5, 15, 16, 16]
        finish(write_packet(packets, 3, [3, 7], 13.0, shard=1))
        finish(write_packet(packets, 8, [8], 18.0))
        server.wait_for_packets(3)
        assert values(server, [3, 7, 8]) == [5, 16, 18]
