"""Faults of Persia's in what a lookup is told, and in who may ask; docs/persia-faults.md lists all of them."""

from __future__ import annotations

import math
import re
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from persia.v1 import embedding_pb2 as pb
from persia.writers import write_checkpoint
from tests.support.persia_packets import CONFIG, DIM, finish, values, write_packet
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until


def metrics_of(server: EmbeddingServer) -> dict[str, float]:
    match = re.search(r"metrics on (\S+)", server.log())
    assert match is not None
    with urllib.request.urlopen(match[1], timeout=PATIENCE) as response:
        lines = re.findall(r"^(\w+)\{[^}]*\} (\S+)$", response.read().decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


def ones(directory: Path, count: int) -> Path:
    """A checkpoint in which all numbers are 1."""
    signs = np.arange(count, dtype=np.uint64)
    write_checkpoint(directory, [(signs, np.ones((count, DIM), np.float32))], shards=1, files_per_shard=1)
    return directory


def test_fault_24_missing_rows_and_rows_of_another_dim(tmp_path: Path) -> None:
    """In Persia both are zeros, and only the latter are logged, sign by sign; here each is counted, and nothing is logged."""
    checkpoint = ones(tmp_path / "checkpoint", 100)
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=checkpoint, arguments=["--metrics-port", "0"]) as server:
        said = server.wait_ready().log()
        signs = np.arange(90, 120, dtype=np.uint64)
        rows, response = server.rows(signs, DIM)
        assert (response.absent, response.wrong_dim) == (20, 0)
        assert rows[:, 0].tolist() == [1.0] * 10 + [0.0] * 20
        rows, response = server.rows(signs, DIM // 2)
        assert (response.absent, response.wrong_dim) == (20, 10)
        assert not rows.any()
        metrics = metrics_of(server)
        assert [metrics[f"persia_lookup_{what}_total"] for what in ("absent", "wrong_dim", "ids")] == [40, 10, 60]
        assert server.log()[len(said) :].count("\n") <= 1  # "serving", if it had not been said yet


def test_fault_25_nothing_is_answered_before_the_server_is_ready(tmp_path: Path) -> None:
    """Persia answers zeros while it loads; here lookups get UNAVAILABLE, and health says NOT_SERVING, until all is there."""
    checkpoint = ones(tmp_path / "checkpoint", 2_000_000)
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


def test_fault_26_empty_requests(tmp_path: Path) -> None:
    """Persia's share of misses of an empty request is 0 / 0; here it is a number at all times."""
    with EmbeddingServer(tmp_path, CONFIG, arguments=["--metrics-port", "0"]) as server:
        server.wait_ready()
        for request in (pb.LookupRequest(), pb.LookupRequest(parts=np.array([0, 0, DIM, 1, 0, 0], np.uint32).tobytes())):
            response = server.stub.Lookup(request, timeout=PATIENCE)
            assert (response.numbers, response.absent, response.wrong_dim) == (b"", 0, 0)
        metrics = metrics_of(server)
        assert metrics["persia_lookups_total"] == 2
        assert metrics["persia_lookup_absent_ratio"] == 0
        assert not any(math.isnan(value) for value in metrics.values())


def test_fault_34_rows_in_use_stay(tmp_path: Path) -> None:
    """Persia evicts what came first, hot or not, and at load says nothing; here it is counted, and rows in use stay."""
    checkpoint, packets = ones(tmp_path / "checkpoint", 3000), tmp_path / "packets"
    settings = {"capacity": 2000}
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=checkpoint, incremental_dir=packets, settings=settings) as server:
        server.wait_ready()
        assert (server.status().rows, server.status().evicted) == (2000, 1000)
        assert "1000 rows over the capacity of 2000 were left out" in server.log()
        there = values(server, list(range(3000)))
        hot = [sign for sign in range(3000) if there[sign]][:200]  # those that came first
        for second in range(1, 41):
            new = range(10_000 + 100 * second, 10_100 + 100 * second)
            finish(write_packet(packets, second, list(new), 2.0))
            evicted = server.status().evicted

            def folded(second: int = second) -> bool:
                assert values(server, hot) == [1.0] * len(hot)
                return server.status().packets_applied == second and server.status().rows <= 2000

            wait_until(folded, f"packet {second} is applied, after {evicted} rows were evicted")
        wait_until(lambda: server.status().evicted == 5000, "as many rows went as came")


def methods_of(server: EmbeddingServer) -> dict[str, list[str]]:
    """What the server itself says it offers."""
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)

    def ask(request: reflection_pb2.ServerReflectionRequest) -> reflection_pb2.ServerReflectionResponse:
        return next(stub.ServerReflectionInfo(iter([request]), timeout=PATIENCE))

    listed = ask(reflection_pb2.ServerReflectionRequest(list_services=""))
    methods: dict[str, list[str]] = {}
    for service in listed.list_services_response.service:
        found = ask(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.name))
        for data in found.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(data)
            methods |= {
                f"{file.package}.{one.name}": sorted(method.name for method in one.method)
                for one in file.service
                if f"{file.package}.{one.name}" == service.name
            }
    return methods


def test_fault_39_nobody_can_change_anything_from_outside(tmp_path: Path) -> None:
    """Persia lets anyone who reaches its port clear, load, dump and shut down; here there are lookups, on loopback."""
    with EmbeddingServer(tmp_path, CONFIG) as server:
        server.wait_ready()
        assert server.address.startswith("127.0.0.1:")
        methods = methods_of(server)
        assert methods.pop("persia.v1.EmbeddingServer") == ["Lookup", "Status"]
        assert sorted(methods) == ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
        for name in ("clear_embeddings", "set_embedding", "load", "dump", "shutdown", "Shutdown"):
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(f"/persia.v1.EmbeddingServer/{name}")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=PATIENCE)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert server.status().ready


def test_fault_39_sizes_have_limits(tmp_path: Path) -> None:
    """Persia believes any size that a peer names; here neither a request nor an answer can take more than its limit."""
    with EmbeddingServer(tmp_path, CONFIG) as server:
        server.wait_ready()
        signs = np.zeros(2000, np.uint64)
        for part in ([0, 0, 65_535, 1, 2000, 0], [0, 1, 65_535, 2**31, 2000, 0], [0, 0, DIM, 1, 2**32 - 1, 0]):
            request = pb.LookupRequest(parts=np.array(part, np.uint32).tobytes(), signs=signs.tobytes())
            with pytest.raises(grpc.RpcError) as caught:
                server.stub.Lookup(request, timeout=PATIENCE)
            assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
        with pytest.raises(grpc.RpcError) as caught:
            server.stub.Lookup(pb.LookupRequest(signs=bytes(257 << 20)), timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert values(server, [1]) == [0]
