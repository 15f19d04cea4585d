"""An embedding server as its users meet it: a process with a checkpoint, packets and a port."""

from __future__ import annotations

import re
import shutil
import signal
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
from golden import GOLDEN
from grpc_health.v1 import health_pb2, health_pb2_grpc
from servers import PATIENCE, EmbeddingServer, wait_until

from persia import _core
from persia.config import load_embedding_config
from persia.routing import make_slots
from persia.v1 import embedding_pb2 as pb

MIX = GOLDEN / "mix"
CONFIG = MIX / "embedding_config.yml"
DIM = 8


def write_packet(root: Path, second: int, signs: list[int], value: float, *, shard: int = 0, name: str = "0_0.inc") -> Path:
    """A packet of dim 8 in which all numbers are `value`; without its marker."""
    directory = root / f"s{shard}" / f"inc_2026010100{second:04d}"
    directory.mkdir(parents=True, exist_ok=True)
    rows = np.full((len(signs), DIM), value, np.float32)
    _core.write_inc(directory / name, [(np.array(signs, np.uint64), rows)], unix_seconds=1_800_000_000 + second)
    return directory


def finish(directory: Path) -> None:
    (directory / "inc_update_done").touch()


def values(server: EmbeddingServer, signs: list[int]) -> list[float]:
    return [float(row[0]) for row in server.rows(np.array(signs, np.uint64), DIM)[0]]


@pytest.fixture
def incremental_dir(tmp_path: Path) -> Path:
    return tmp_path / "packets"


@pytest.mark.parametrize("count", [1, 3])
def test_golden_tensors_through_real_servers(tmp_path: Path, count: int) -> None:
    servers = [EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt", index=i, count=count) for i in range(count)]
    try:
        batch = _core.decode_batch((MIX / "golden" / "batch256_0.bin").read_bytes())
        plan = _core.make_plan(batch, make_slots(load_embedding_config(CONFIG)), count)
        answers = []
        for server, request in zip(servers, plan.requests, strict=True):
            response = server.wait_ready().stub.Lookup(
                pb.LookupRequest(
                    parts=request.parts.tobytes(),
                    signs=request.signs.tobytes(),
                    sum_counts=request.sum_counts.tobytes(),
                    sum_samples=request.sum_samples.tobytes(),
                )
            )
            assert response.wrong_dim == 0
            assert set(server.status().rows_by_dim) == {4, 8, 16}
            assert sum(server.status().rows_by_dim.values()) == server.status().rows
            answers.append(np.frombuffer(response.numbers, np.float32))
        want = np.load(MIX / "golden" / "batch256_0.npz")
        for i, tensor in enumerate(plan.assemble(answers)):
            np.testing.assert_allclose(tensor.astype(np.float32), want[f"emb{i}"].astype(np.float32), rtol=1e-3, atol=1e-6)
    finally:
        for server in servers:
            server.kill()


def test_the_golden_packets_over_the_older_checkpoint_give_their_newest_values(tmp_path: Path, incremental_dir: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt_mid", incremental_dir=incremental_dir) as server:
        server.wait_ready()
        shutil.copytree(MIX / "inc", incremental_dir)
        since = 1_795_158_528  # the packets before are in the checkpoint
        server.wait_for_packets(6)
        newest: dict[int, np.ndarray] = {}
        for path in sorted(incremental_dir.glob("s*/inc_*/*.inc"), key=lambda path: path.parent.name):
            reader = _core.IncReader(path)
            rows = [(signs, dims, numbers) for signs, dims, numbers, _ in reader]
            if reader.unix_seconds < since:
                continue
            for signs, dims, numbers in rows:
                newest |= zip(signs.tolist(), np.split(numbers, np.cumsum(dims)[:-1]), strict=True)
        assert len(newest) > 1000
        for sign, row in newest.items():
            got, _ = server.rows(np.array([sign], np.uint64), len(row))
            np.testing.assert_array_equal(got[0], row)


def test_a_packet_waits_for_its_marker_however_late(tmp_path: Path, incremental_dir: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=incremental_dir) as server:
        server.wait_ready()
        late = write_packet(incremental_dir, 1, [1, 2], 1.0)
        finish(write_packet(incremental_dir, 2, [2, 3], 2.0))
        server.wait_for_packets(1)
        assert values(server, [1, 2, 3]) == [0, 2, 2]
        finish(late)
        assert server.wait_for_packets(2).last_packet == "s0/inc_20260101000002"
        # It is older than the packet that was applied already: of the row that both have, the newer value stays.
        assert values(server, [1, 2, 3]) == [1, 2, 2]


def test_files_that_come_after_the_marker_are_applied(tmp_path: Path, incremental_dir: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=incremental_dir) as server:
        server.wait_ready()
        finish(write_packet(incremental_dir, 1, [1, 2], 1.0))
        server.wait_for_packets(1)
        write_packet(incremental_dir, 1, [2, 3], 2.0, name="0_1.inc")
        server.wait_for_packets(2)
        assert values(server, [1, 2, 3]) == [1, 2, 2]


def test_a_broken_packet_is_set_aside_whole_and_the_next_one_applied(tmp_path: Path, incremental_dir: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=incremental_dir) as server:
        server.wait_ready()
        broken = write_packet(incremental_dir, 1, [1], 1.0)
        write_packet(incremental_dir, 1, [2, 3], 1.0, name="0_1.inc")
        whole = (broken / "0_1.inc").read_bytes()
        (broken / "0_1.inc").write_bytes(whole[:-30])
        finish(broken)
        finish(write_packet(incremental_dir, 2, [4], 2.0))
        server.wait_for_packets(1)
        [set_aside] = wait_until(lambda: server.status().set_aside, "the broken packet is set aside")
        assert values(server, [1, 2, 3, 4]) == [0, 0, 0, 2]
        assert set_aside.packet == "s0/inc_20260101000001"
        assert "0_1.inc at byte " in set_aside.reason
        (broken / "0_1.inc").write_bytes(whole)  # mended
        assert not server.wait_for_packets(2).set_aside
        assert values(server, [1, 2, 3, 4]) == [1, 1, 1, 2]


def test_a_restart_after_a_kill_ends_in_the_same_rows(tmp_path: Path, incremental_dir: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=incremental_dir) as server:
        server.wait_ready()
        finish(write_packet(incremental_dir, 1, [1, 2], 1.0))
        finish(write_packet(incremental_dir, 2, [2, 3], 2.0, shard=1, name="1_0.inc"))
        server.wait_for_packets(2)
        server.kill()
        finish(write_packet(incremental_dir, 3, [3], 3.0))
        server.start()
        server.wait_ready()
        assert server.status().packets_applied == 3
        assert values(server, [1, 2, 3]) == [1, 2, 3]


def test_packets_of_any_shard_count_reach_the_shards_that_serve_them(tmp_path: Path, incremental_dir: Path) -> None:
    signs = list(range(1, 400))
    finish(write_packet(incremental_dir, 1, signs[:200], 1.0, shard=0))
    finish(write_packet(incremental_dir, 1, signs[200:], 1.0, shard=5, name="5_0.inc"))
    shards = _core.shard_of(np.array(signs, np.uint64), 2)
    for index in range(2):
        with EmbeddingServer(tmp_path, CONFIG, incremental_dir=incremental_dir, index=index, count=2) as server:
            server.wait_ready()
            assert values(server, signs) == (shards == index).astype(float).tolist()
            assert server.status().rows == int((shards == index).sum())


def test_nothing_is_answered_before_the_server_is_ready(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    (checkpoint / "s0").mkdir(parents=True)
    signs = np.arange(2_000_000, dtype=np.uint64)
    _core.write_emb(checkpoint / "s0" / "replica_0_shard_0.emb", [(signs, np.ones((len(signs), DIM), np.float32))])
    marker = "num_shards: 1\nnum_internal_shards: 1\ndatetime:\n  secs_since_epoch: 1\n  nanos_since_epoch: 0\n"
    for directory in (checkpoint, checkpoint / "s0"):
        (directory / "embedding_dump_done").write_text(marker)
    refusals: list[grpc.RpcError] = []
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=checkpoint) as server:

        def answer() -> list[float] | None:
            try:
                return values(server, [0, 1_000_000, 1_999_999])
            except grpc.RpcError as refusal:
                refusals.append(refusal)
                return None

        health = health_pb2_grpc.HealthStub(server.channel)
        early = health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        assert wait_until(answer, "the server answers") == [1, 1, 1]
        assert refusals
        assert {refusal.code() for refusal in refusals} == {grpc.StatusCode.UNAVAILABLE}
        assert "loading" in str(refusals[0].details())
        assert early.status == health_pb2.HealthCheckResponse.NOT_SERVING
        wait_until(
            lambda: health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING,
            "health says so, too",
        )


@pytest.mark.parametrize("damage", ["marker", "shard marker", "file gone", "file cut", "shard gone"])
def test_a_broken_checkpoint_never_serves(tmp_path: Path, damage: str) -> None:
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


def test_the_first_sigterm_drains_and_the_port_is_free_again(tmp_path: Path) -> None:
    server = EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt")
    server.wait_ready()
    assert server.terminate() == 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt") as server:
        server.wait_ready()

        def requests() -> object:  # a stream that stays open, so that draining takes its time
            yield pb.LookupRequest(id=1)
            wait_until(lambda: server.process.poll() is not None, "the server has ended")

        responses = server.stub.LookupStream(requests())
        assert next(responses).id == 1
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in server.log(), "it has begun to stop")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
        responses.cancel()


def test_a_mistake_on_the_command_line_is_one_clear_line(tmp_path: Path) -> None:
    server = EmbeddingServer(tmp_path, tmp_path / "nowhere.yml")
    assert server.process.wait(PATIENCE) == 2
    [line] = server.log().splitlines()
    assert "nowhere.yml" in line


def test_metrics_tell_lookups_misses_and_packets(tmp_path: Path, incremental_dir: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=incremental_dir, arguments=["--metrics-port", "0"]) as server:
        server.wait_ready()
        finish(write_packet(incremental_dir, 1, [1, 2], 1.0))
        server.wait_for_packets(1)
        values(server, [1, 2, 3, 4, 5])
        match = re.search(r"metrics on (\S+)", server.log())
        assert match is not None
        with urllib.request.urlopen(match[1], timeout=PATIENCE) as response:
            text = response.read().decode()
        figures = dict(re.findall(r"^(\w+)\{[^}]*\} (\S+)$", text, re.MULTILINE))
        assert {name: float(figures[name]) for name in ("lookups_total", "lookup_ids_total", "index_miss_count", "rows")} == {
            "lookups_total": 1,
            "lookup_ids_total": 5,
            "index_miss_count": 3,
            "rows": 2,
        }
        assert float(figures["index_miss_ratio"]) == 0.6
        assert float(figures["inc_update_delay_sec_count"]) == float(figures["lookup_seconds_count"]) == 1
        assert float(figures["ready"]) == float(figures["packets_applied_total"]) == 1
