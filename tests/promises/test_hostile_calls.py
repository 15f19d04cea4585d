"""Bytes that are no calls, or none that belong here, on their way to a server. On their way back: test_hostile_answers.py."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from persia import _core
from persia.config import load_embedding_config
from persia.routing import make_slots
from persia.routing.router import Router
from persia.v1 import embedding_pb2 as pb
from tests.support import http2
from tests.support.persia_packets import CONFIG
from tests.support.replicas import Replicas, assert_golden, golden_batch, load_of, router_of
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("shards"), count=1) as started:
        yield started


@pytest.fixture
def server(servers: Replicas) -> EmbeddingServer:
    return servers.shards[0][0]


@pytest.fixture
def router(servers: Replicas) -> Iterator[Router]:
    with router_of(servers.addresses) as router:
        yield router


def good_request() -> bytes:
    request = _core.make_plan(golden_batch(), make_slots(load_embedding_config(CONFIG)), 1).requests[0]
    return pb.LookupRequest(
        shard_count=1,
        parts=request.parts.tobytes(),
        signs=request.signs.tobytes(),
        sum_counts=request.sum_counts.tobytes(),
        sum_samples=request.sum_samples.tobytes(),
    ).SerializeToString()


GOOD = good_request()
GOOD_CALL = http2.GREETING + http2.call(1, GOOD)


def request_for(signs: int, dim: int = 8) -> bytes:
    parts = np.array([0, 0, dim, 1, signs, 0], np.uint32).tobytes()
    return pb.LookupRequest(parts=parts, signs=bytes(8 * signs)).SerializeToString()


def connect(server: EmbeddingServer) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    sock = socket.create_connection((host, int(port)))
    sock.settimeout(PATIENCE)
    return sock


def memory(server: EmbeddingServer, what: str = "VmRSS") -> float:
    """MiB."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def thread_count(server: EmbeddingServer) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


def test_a_good_call_is_answered(server: EmbeddingServer) -> None:
    with connect(server) as sock:
        sock.sendall(GOOD_CALL)
        for stream in (1, 3, 5):
            assert pb.LookupResponse.FromString(http2.answer_to(sock, stream)).numbers
            sock.sendall(http2.call(stream + 2, GOOD))


@pytest.mark.parametrize("piece", [1, 10, len(GOOD_CALL) - 1, len(GOOD_CALL) + 1, 100_000])
def test_calls_may_come_in_any_pieces(server: EmbeddingServer, piece: int) -> None:
    """Also the next one before the answer to the first, from who does not wait."""
    count = 150 if piece > 1 else 3
    calls = http2.GREETING + b"".join(http2.call(2 * k + 1, GOOD) for k in range(count))
    with connect(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            for begin in range(0, len(calls), piece):
                sock.sendall(calls[begin : begin + piece])

        sender = threading.Thread(target=send)
        sender.start()
        answers: dict[int, bytes] = {2 * k + 1: b"" for k in range(count)}
        left = set(answers)
        for kind, flags, stream, payload in http2.frames_of(sock):
            if kind == http2.DATA:
                answers[stream] += payload
            if kind in (http2.DATA, http2.HEADERS) and flags & http2.END_STREAM:
                left.remove(stream)
            if not left:
                break
        sender.join()
    assert left == set() and len({*answers.values()}) == 1
    assert pb.LookupResponse.FromString(answers[1][5:]).numbers


def mutations(rng: random.Random, count: int) -> Iterator[bytes]:
    begin = len(http2.GREETING)
    for _ in range(count):
        spoiled = bytearray(GOOD_CALL)
        for _ in range(rng.randint(1, 3)):
            # Half of them where headers and the begins of frames are, which say how to read the rest.
            at = rng.randrange(begin + 200 if rng.random() < 0.5 else len(spoiled))
            match rng.randrange(4):
                case 0:
                    spoiled[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    spoiled[at : at + 4] = rng.choice((0, 1, 2**16, 2**28, 2**31, 2**32 - 1)).to_bytes(4, "big")
                case 2:
                    del spoiled[at:]
                    break
                case _:
                    spoiled[at:at] = rng.randbytes(rng.randrange(1, 9))
        yield bytes(spoiled)
        yield rng.randbytes(rng.randrange(200))


def is_answered(sock: socket.socket, sent: bytes) -> bool:
    """Whether there was an answer before the server ended the connection."""
    with contextlib.suppress(ConnectionError):  # it was faster
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
    try:
        return any([kind in (http2.DATA, http2.HEADERS) for kind, *_ in http2.frames_of(sock)])
    except TimeoutError:
        raise AssertionError(f"no word on {sent!r}, and the connection is still there") from None
    except ConnectionError:
        return False


def test_spoiled_calls_end_in_an_answer_or_the_connection(server: EmbeddingServer, router: Router) -> None:
    before = memory(server)
    answered = 0
    with load_of(router, threads=1) as load:
        for spoiled in mutations(random.Random(5), 1000):
            with connect(server) as sock:
                answered += is_answered(sock, spoiled)
        load.wait_for_more()
    assert load.failures == []
    assert 100 < answered < 1900
    assert memory(server) - before < 32
    assert "Traceback" not in server.log()


def test_announced_lengths_take_no_memory(server: EmbeddingServer, router: Router) -> None:
    """Neither below the limit nor above it, where the call ends."""
    before = memory(server)
    announced = http2.GREETING + http2.open_call(1) + http2.data(1, (255 << 20).to_bytes(5, "big") + b"x" * 1000)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            sock = stack.enter_context(connect(server))
            sock.sendall(announced)
        assert_golden(router.lookup(golden_batch()))
        assert memory(server) - before < 64
        with connect(server) as refused:
            beyond = ((256 << 20) + 1).to_bytes(5, "big")
            refused.sendall(http2.GREETING + http2.open_call(1) + http2.data(1, beyond))
            assert http2.answer_to(refused, 1) == b""


def test_who_holds_connections_without_a_word_keeps_nobody_out(server: EmbeddingServer, router: Router) -> None:
    before, threads = memory(server), thread_count(server)
    with contextlib.ExitStack() as stack, load_of(router, threads=1) as load:
        for k in range(1200):
            sock = stack.enter_context(connect(server))
            sock.sendall(GOOD_CALL[: k % len(GOOD_CALL)])  # some within a header, some within a message
        load.wait_for_more()
        with connect(server) as new:
            new.sendall(GOOD_CALL)
            assert http2.answer_to(new, 1)
        assert load.failures == []
        assert thread_count(server) <= threads
        assert memory(server) - before < 100


def test_those_who_do_not_read_their_answers_hold_up_nobody(server: EmbeddingServer, router: Router) -> None:
    rows = http2.GREETING + http2.call(1, request_for(signs=300_000))
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(connect(server))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(rows)
            sock.recv(100)  # its answer of 10 MB is under way
        with load_of(router) as load:
            load.wait_for_more()
        assert load.failures == []
        first = stack.enter_context(connect(server))
        first.sendall(GOOD_CALL)
        assert http2.answer_to(first, 1)


def test_connections_that_wait_hold_little_of_what_they_were_answered(server: EmbeddingServer) -> None:
    rows = http2.GREETING + http2.call(1, request_for(signs=30_000))
    before = memory(server)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            sock = stack.enter_context(connect(server))
            sock.sendall(rows)
            assert len(pb.LookupResponse.FromString(http2.answer_to(sock, 1)).numbers) == 30_000 * 8 * 4
        wait_until(lambda: memory(server) - before < 80, "it is given back")  # and not 240


def test_a_request_for_another_shard_is_refused(server: EmbeddingServer) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.Lookup(pb.LookupRequest(shard_index=1, shard_count=2))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert caught.value.details() == "expected shard 1 of 2, got shard 0 of 1"


def test_a_server_without_descriptors_takes_connections_when_it_has_some(tmp_path: Path) -> None:
    with EmbeddingServer(tmp_path, CONFIG) as server:
        server.wait_ready()
        descriptors = Path(f"/proc/{server.process.pid}/fd")
        before, limits = len(list(descriptors.iterdir())), resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        with connect(server) as waiting:
            waiting.sendall(GOOD_CALL)
            wait_until(lambda: len(list(descriptors.iterdir())) < before, "who is idle has to go")
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
            assert http2.answer_to(waiting, 1)
