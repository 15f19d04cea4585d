"""An embedding server as its users meet it: a process with a checkpoint, packets and a port."""

from __future__ import annotations

import re
import shutil
import signal
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from persia_packets import CONFIG, MIX, finish, values, write_packet
from servers import PATIENCE, EmbeddingServer, wait_until

from persia import _core
from persia.config import load_embedding_config
from persia.routing import make_slots
from persia.v1 import embedding_pb2 as pb


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
