"""An embedding server as its users meet it: a process with a checkpoint, packets and a port."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from persia import _core
from persia.config import load_embedding_config
from persia.routing import make_slots
from persia.v1 import embedding_pb2 as pb
from tests.support.golden import arrays_of
from tests.support.persia_packets import CONFIG, DIM, MIX, finish, values, write_packet
from tests.support.routing_reference import assemble
from tests.support.servers import PATIENCE, EmbeddingServer, ServerProcess, wait_until

SERVING = health_pb2.HealthCheckResponse.SERVING


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
        want = arrays_of(MIX / "golden" / "batch256_0.npz")
        for i, tensor in enumerate(assemble(plan, answers)):
            np.testing.assert_allclose(tensor.astype(np.float32), want[f"emb{i}"].astype(np.float32), rtol=1e-3, atol=1e-6)
    finally:
        for server in servers:
            server.kill()


def test_the_golden_packets_over_the_older_checkpoint_give_their_newest_values(tmp_path: Path, incremental_dir: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt_mid", incremental_dir=incremental_dir) as server:
        server.wait_ready()
        # All at once: where a copy's marker comes before its rows, the packet is taken to be whole without them.
        Path(shutil.copytree(MIX / "inc", tmp_path / "copied")).rename(incremental_dir)
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


def test_lookups_that_are_refused_are_counted(tmp_path: Path) -> None:
    """By their code; and all other counts stay."""
    with EmbeddingServer(tmp_path, CONFIG, arguments=["--metrics-port", "0"]) as server:
        server.wait_ready()
        wrong = pb.LookupRequest(signs=b"1")
        parts = np.array([0, 0, 65_535, 1, 2000, 0], np.uint32)
        large = pb.LookupRequest(parts=parts.tobytes(), signs=bytes(8 * 2000))
        for request in (wrong, wrong, large):
            with pytest.raises(grpc.RpcError):
                server.stub.Lookup(request)
        server.stub.Lookup(pb.LookupRequest())
        counted = {
            code: value
            for code, value in server.metrics(r'persia_lookup_errors_total\{code="(\w+)",[^}]*\} (\S+)')
            if float(value)
        }
        assert counted == {"INVALID_ARGUMENT": "2.0", "RESOURCE_EXHAUSTED": "1.0"}
        assert [value for _, value in server.metrics(r"(persia_lookups_total)\{[^}]*\} (\S+)")] == ["1.0"]


@pytest.fixture
def two_rows(tmp_path: Path, incremental_dir: Path) -> Iterator[EmbeddingServer]:
    """A server with the signs 1 and 2, and metrics."""
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=incremental_dir, arguments=["--metrics-port", "0"]) as server:
        server.wait_ready()
        finish(write_packet(incremental_dir, 1, [1, 2], 1.5))
        server.wait_for_packets(1)
        yield server


def request_of(*parts: tuple[int, ...], signs: list[int]) -> pb.LookupRequest:
    return pb.LookupRequest(parts=np.array(parts, np.uint32).tobytes(), signs=np.array(signs, np.uint64).tobytes())


def test_rows_and_what_is_said_of_them(two_rows: EmbeddingServer) -> None:
    response = two_rows.stub.Lookup(
        request_of((0, 0, DIM, 1, 3, 0), (1, 2, DIM, 1, 1, 0), (2, 0, 3, 1, 1, 0), signs=[2, 3, 1, 1, 2])
    )
    numbers = response.numbers
    rows = np.frombuffer(numbers[: 12 * DIM], np.float32).reshape(3, DIM)
    np.testing.assert_array_equal(rows, np.repeat([[1.5], [0], [1.5]], DIM, axis=1))
    np.testing.assert_array_equal(np.frombuffer(numbers[12 * DIM : 14 * DIM], np.float16), [1.5] * DIM)
    assert numbers[14 * DIM :] == bytes(12)
    response.ClearField("numbers")
    response.ClearField("padding")
    assert response == pb.LookupResponse(
        version=1,
        absent=1,
        wrong_dim=1,
        server_start=two_rows.status().server_start,
        misses=np.array([[1, 0], [0, 0], [0, 1]], np.uint32).tobytes(),
    )


def test_lookups_are_counted_those_that_fail_too(two_rows: EmbeddingServer) -> None:
    for _ in range(3):
        two_rows.stub.Lookup(request_of((0, 0, DIM, 1, 3, 0), (1, 0, 3, 1, 1, 0), signs=[2, 3, 1, 1]))
        with pytest.raises(grpc.RpcError, match="expected an answer kind of 0 to 3, got 7"):
            two_rows.stub.Lookup(request_of((0, 7, DIM, 1, 1, 0), signs=[2]))
    figures = dict(two_rows.metrics(r"(\w+)\{[^}]*\} (\S+)"))
    counted = ("lookups_total", "lookup_ids_total", "lookup_absent_total", "lookup_wrong_dim_total", "lookup_seconds_count")
    assert {name: float(figures[f"persia_{name}"]) for name in counted} == {
        "lookups_total": 3,
        "lookup_ids_total": 12,
        "lookup_absent_total": 3,
        "lookup_wrong_dim_total": 3,
        "lookup_seconds_count": 6,
    }
    assert 0 < float(figures["persia_lookup_seconds_sum"]) < PATIENCE
    buckets = [float(count) for _, count in two_rows.metrics(r'persia_lookup_seconds_bucket\{.*le="([^"]+)".*\} (\S+)')]
    assert buckets == sorted(buckets) and buckets[-1] == 6


def test_an_answer_has_the_newest_version(two_rows: EmbeddingServer, incremental_dir: Path) -> None:
    for version in range(2, 6):
        finish(write_packet(incremental_dir, version, [1], float(version)))
        two_rows.wait_for_packets(version)
        response = two_rows.stub.Lookup(request_of((0, 0, DIM, 1, 1, 0), signs=[1]))
        assert response.version == version and np.frombuffer(response.numbers, np.float32)[0] == version


def test_the_first_sigterm_drains_and_the_port_is_free_again(tmp_path: Path) -> None:
    server = EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt")
    server.wait_ready()
    assert server.terminate() == 0


def test_streams_that_stay_open_keep_nobody_out(tmp_path: Path) -> None:
    """They hold no thread: other calls, streams and health checks are answered meanwhile, over this connection and others."""
    with EmbeddingServer(tmp_path, CONFIG) as server:
        server.wait_ready()
        done = threading.Event()
        reflection = reflection_pb2_grpc.ServerReflectionStub(server.channel)

        def requests() -> Iterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            done.wait()

        streams = []
        try:
            for _ in range(50):
                stream = reflection.ServerReflectionInfo(requests())
                assert next(stream).list_services_response.service
                streams.append(stream)  # else it would be cancelled
            health = health_pb2_grpc.HealthStub(server.channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == SERVING
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status == SERVING
            assert server.status().ready
        finally:
            server.kill()
            done.set()


STOPPED = """
from persia.system.signals import StopSignal
stop = StopSignal()
{}
print("up", flush=True)
stop.wait()
print("asked", flush=True)
stop.wait()
"""


@pytest.mark.parametrize(("before", "code"), [("", 0), ("stop.serving()", 128 + signal.SIGTERM)])
def test_signals_before_and_after_it_serves(before: str, code: int) -> None:
    """While a checkpoint is loaded, there is nothing to drain: the first signal is enough."""
    with subprocess.Popen([sys.executable, "-c", STOPPED.format(before)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        if before:
            assert process.stdout.readline() == "asked\n"
            process.terminate()
        assert process.wait(PATIENCE) == code


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option, what in [("--port", "to listen on"), ("--metrics-port", "for metrics")]:
            server = EmbeddingServer(tmp_path, CONFIG, arguments=[option, port])
            assert server.process.wait(PATIENCE) == 2
            assert f"embedding-server: expected a free address {what}, got 127.0.0.1:{port}" in server.log()


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6(tmp_path: Path, host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6: {error}")
    with EmbeddingServer(tmp_path, CONFIG, arguments=["--host", host, "--metrics-port", "0"]) as server:
        assert server.wait_ready().address.startswith("[::1]:")
        assert "metrics on http://[::1]:" in server.log()


def test_a_mistake_on_the_command_line_is_one_clear_line(tmp_path: Path) -> None:
    server = EmbeddingServer(tmp_path, tmp_path / "nowhere.yml")
    assert server.process.wait(PATIENCE) == 2
    [line] = server.log().splitlines()
    assert "nowhere.yml" in line


def test_the_log_may_be_json(tmp_path: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG, arguments=["--log-format", "json"]) as server:
        address = server.wait_ready().address
        wait_until(lambda: "serving version" in server.log(), "it serves")
        assert server.terminate() == 0
        lines = [json.loads(line) for line in server.log().splitlines()]
    assert {line["level"] for line in lines} == {"INFO", "WARNING"}  # the table is empty
    said = {line["message"]: line["logger"] for line in lines}
    assert said[f"listening on {address} as shard 0 of 1"] == "embedding_server"
    assert "stopping: up to 10 s for calls that run" in said


def test_what_would_only_show_in_scores_is_a_warning(tmp_path: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG) as server:
        config = tmp_path / "global_0.yml"
        assert "names no `embedding_checkpoint`: the table is empty" in server.wait_ready().log()
        assert "--replica-size" not in server.log()
    config.write_text("common_config: {infer_config: {servers: ['a:1', 'b:1']}}")
    with ServerProcess(tmp_path / "again.log", server.command) as again:
        wait_until(lambda: "names 2 shards, --replica-size is 1" in again.log(), "it says so")


def test_metrics_tell_lookups_misses_and_packets(tmp_path: Path, incremental_dir: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=incremental_dir, arguments=["--metrics-port", "0"]) as server:
        server.wait_ready()
        finish(write_packet(incremental_dir, 1, [1, 2], 1.0))
        server.wait_for_packets(1)
        values(server, [1, 2, 3, 4, 5])
        wait_until(lambda: server.status().rows == 2, "the packet is folded")
        figures = dict(server.metrics(r"(\w+)\{[^}]*\} (\S+)"))
        counted = {
            "lookups_total": 1,
            "lookup_ids_total": 5,
            "lookup_absent_total": 3,
            "lookup_absent_ratio": 0.6,
            "lookup_seconds_count": 1,
            "update_delay_seconds_count": 1,
            "packets_applied_total": 1,
            "rows": 2,
            "ready": 1,
        }
        assert {name: float(figures[f"persia_{name}"]) for name in counted} == counted
