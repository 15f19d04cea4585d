"""Lookups that the native core answers by itself: the same as those that Python does, and counted with them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from persia_packets import CONFIG, DIM, finish, write_packet
from proxies import read_frame
from replicas import golden_batch
from servers import PATIENCE, EmbeddingServer

from embedding_server.shard import ShardOptions, ShardServer
from persia import _core
from persia.config import load_embedding_config
from persia.routing import make_slots
from persia.routing.shards import lookup_messages
from persia.rpc.frames import HEADER_BYTES, frame, header_of
from persia.v1 import embedding_pb2 as pb

# What routers send, and what is left to Python.
NATIVE = pb.LookupRequest(shard_index=0, shard_count=1)
PYTHON = pb.LookupRequest()
BOTH = pytest.mark.parametrize("message", [NATIVE, PYTHON], ids=["native", "python"])

Ask = Callable[..., tuple[pb.LookupResponse, bytes]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddingServer]:
    incremental = tmp_path / "inc"
    incremental.mkdir()
    with EmbeddingServer(tmp_path, CONFIG, incremental_dir=incremental, arguments=["--metrics-port", "0"]) as server:
        server.wait_ready()
        finish(write_packet(incremental, 1, [1, 2], 1.5))
        server.wait_for_packets(1)
        yield server


@pytest.fixture
def ask(server: EmbeddingServer) -> Iterator[Ask]:
    with socket.create_connection(("127.0.0.1", server.status().frame_port)) as sock:
        sock.settimeout(PATIENCE)

        def ask(message: pb.LookupRequest, *parts: tuple[int, ...], signs: list[int]) -> tuple[pb.LookupResponse, bytes]:
            columns = np.array(parts, np.uint32), np.array(signs, np.uint64)
            sock.sendall(b"".join(frame(message, *[column.tobytes() for column in columns], b"", b"").in_turn(9)))
            answer = read_frame(sock, 2)
            turn, (numbers, _) = header_of(answer[:HEADER_BYTES], 2)
            assert turn == 9
            return pb.LookupResponse.FromString(answer[HEADER_BYTES + numbers :]), answer[HEADER_BYTES : HEADER_BYTES + numbers]

        yield ask


@BOTH
def test_rows_and_what_is_said_of_them(server: EmbeddingServer, ask: Ask, message: pb.LookupRequest) -> None:
    response, numbers = ask(message, (0, 0, DIM, 1, 3, 0), (1, 2, DIM, 1, 1, 0), (2, 0, 3, 1, 1, 0), signs=[2, 3, 1, 1, 2])
    rows = np.frombuffer(numbers[: 12 * DIM], np.float32).reshape(3, DIM)
    np.testing.assert_array_equal(rows, np.repeat([[1.5], [0], [1.5]], DIM, axis=1))
    np.testing.assert_array_equal(np.frombuffer(numbers[12 * DIM : 14 * DIM], np.float16), [1.5] * DIM)
    assert numbers[14 * DIM :] == bytes(12)
    assert response == pb.LookupResponse(
        version=1,
        absent=1,
        wrong_dim=1,
        server_start=server.status().server_start,
        misses=np.array([[1, 0], [0, 0], [0, 1]], np.uint32).tobytes(),
    )


def test_both_are_counted_alike(server: EmbeddingServer, ask: Ask) -> None:
    for message in (NATIVE, PYTHON, NATIVE):
        ask(message, (0, 0, DIM, 1, 3, 0), (1, 0, 3, 1, 1, 0), signs=[2, 3, 1, 1])
        assert ask(message, (0, 7, DIM, 1, 1, 0), signs=[2])[0].error.message == "expected an answer kind of 0 to 2, got 7"
    figures = dict(server.metrics(r"(\w+)\{[^}]*\} (\S+)"))
    counted = ("lookups_total", "lookup_ids_total", "index_miss_count", "lookup_wrong_dim_total", "lookup_seconds_count")
    assert {name: float(figures[name]) for name in counted} == {
        "lookups_total": 3,
        "lookup_ids_total": 12,
        "index_miss_count": 3,
        "lookup_wrong_dim_total": 3,
        "lookup_seconds_count": 6,  # also of those that failed
    }
    assert float(figures["lookup_errors_total"]) == 3
    assert 0 < float(figures["lookup_seconds_sum"]) < PATIENCE
    buckets = [float(count) for _, count in server.metrics(r'lookup_seconds_bucket\{.*le="([^"]+)".*\} (\S+)')]
    assert buckets == sorted(buckets) and buckets[-1] == 6


@BOTH
def test_an_answer_has_the_newest_version(server: EmbeddingServer, tmp_path: Path, ask: Ask, message: pb.LookupRequest) -> None:
    for version in range(2, 6):
        finish(write_packet(tmp_path / "inc", version, [1], float(version)))
        server.wait_for_packets(version)
        response, numbers = ask(message, (0, 0, DIM, 1, 1, 0), signs=[1])
        assert response.version == version and np.frombuffer(numbers, np.float32)[0] == version


def test_what_routers_send_needs_no_python() -> None:
    shard = ShardServer(ShardOptions(index=1, count=2))
    shard.load()
    request = _core.make_plan(golden_batch(), make_slots(load_embedding_config(CONFIG)), 2).requests[1]
    for message, is_native in ((lookup_messages(2)[1], True), (lookup_messages(2)[0], False)):
        ours, its = socket.socketpair()
        with ours, its:
            sent = b"".join(frame(message, *columns_of(request)).in_turn(0))
            ours.sendall(sent)
            ours.shutdown(socket.SHUT_WR)
            assert _core.net.FrameLane(shard.answers).serve(its.fileno()) == (b"" if is_native else sent)
            its.shutdown(socket.SHUT_WR)
            assert (len(read_frame(ours, 2)) > 4 * request.answer_size) == is_native


def columns_of(request: _core.ShardRequest) -> list[memoryview]:
    return [array.data for array in (request.parts, request.signs, request.sum_counts, request.sum_samples)]
