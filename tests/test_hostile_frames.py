"""Bytes that are no frames, or none that belong here, on their way to a server. On their way back: test_hostile_answers.py."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from persia_packets import CONFIG
from proxies import read_frame
from replicas import Replicas, assert_golden, golden_batch, load_of, router_of
from servers import PATIENCE, EmbeddingServer, wait_until

from persia import _core
from persia.config import load_embedding_config
from persia.routing import make_slots
from persia.routing.router import Router
from persia.rpc.frame_server import MAX_CONNECTIONS
from persia.rpc.frames import HEADER_BYTES, frame, header_of
from persia.v1 import embedding_pb2 as pb


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


# As routers send it. Any other message is looked at in Python, and not in the native core.
FOR_THE_SHARD = pb.LookupRequest(shard_index=0, shard_count=1)


def good_request(message: pb.LookupRequest = FOR_THE_SHARD, turn: int = 7) -> bytes:
    plan = _core.make_plan(golden_batch(), make_slots(load_embedding_config(CONFIG)), 1)
    columns = plan.requests[0]
    arrays = columns.parts, columns.signs, columns.sum_counts, columns.sum_samples
    return b"".join(frame(message, *[array.data for array in arrays]).in_turn(turn))


GOOD = good_request()


def connect(server: EmbeddingServer) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.status().frame_port))
    sock.settimeout(PATIENCE)
    return sock


def memory(server: EmbeddingServer, what: str = "VmRSS") -> float:
    """MiB."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def test_a_good_request_is_answered_in_its_turn(server: EmbeddingServer) -> None:
    with connect(server) as sock:
        for _ in range(3):
            sock.sendall(GOOD)
            answer = read_frame(sock, 2)
            turn, lengths = header_of(answer[:HEADER_BYTES], 2)
            assert turn == 7 and lengths[0] > 0


@pytest.mark.parametrize("piece", [HEADER_BYTES - 1, HEADER_BYTES + 1, len(GOOD) - 1, len(GOOD) + 1, 2 * len(GOOD), 100_000])
def test_requests_may_come_in_any_pieces(server: EmbeddingServer, piece: int) -> None:
    """Also the next one before the answer to the first, from who does not wait."""
    requests = (GOOD + good_request(pb.LookupRequest(), turn=8)) * 150
    with connect(server) as sock, sock.makefile("rb") as answers:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            for begin in range(0, len(requests), piece):
                sock.sendall(requests[begin : begin + piece])

        sender = threading.Thread(target=send)
        sender.start()
        for k in range(300):
            turn, (numbers, message) = header_of(answers.read(HEADER_BYTES), 2)
            response = pb.LookupResponse.FromString(answers.read(numbers + message)[numbers:])
            assert turn == 7 + k % 2 and not response.HasField("error")
        sender.join()


def mutations(rng: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        spoiled = bytearray(GOOD)
        for _ in range(rng.randint(1, 3)):
            # Half of them where the header is, which says how to read the rest.
            at = rng.randrange(HEADER_BYTES if rng.random() < 0.5 else len(spoiled))
            match rng.randrange(4):
                case 0:
                    spoiled[at] = rng.randrange(256)
                case 1:
                    field = at // 4 * 4
                    spoiled[field : field + 4] = rng.choice((0, 1, 2**16, 2**28, 2**31, 2**32 - 1)).to_bytes(4, "little")
                case 2:
                    del spoiled[at:]
                    break
                case _:
                    spoiled[at:at] = rng.randbytes(rng.randrange(1, 9))
        yield bytes(spoiled)
        yield rng.randbytes(rng.randrange(200))


def answer_to(sock: socket.socket, request: bytes) -> bytes:
    """The header of the answer; empty if the server ended the connection."""
    try:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        answer = sock.recv(HEADER_BYTES, socket.MSG_WAITALL)
    except TimeoutError:
        raise AssertionError(f"no word on {request[:HEADER_BYTES]!r}") from None
    except OSError:  # it was faster
        return b""
    if answer:
        header_of(answer, 2)
    return answer


def test_spoiled_requests_end_in_an_answer_or_the_connection(server: EmbeddingServer, router: Router) -> None:
    before = memory(server)
    answered = 0
    with load_of(router, threads=1) as load:
        for spoiled in mutations(random.Random(5), 1000):
            with connect(server) as sock:
                answered += bool(answer_to(sock, spoiled))
        load.wait_for_more()
    assert load.failures == []
    assert 100 < answered < 1900
    assert memory(server) - before < 32
    assert "Traceback" not in server.log()


def test_announced_lengths_take_no_memory(server: EmbeddingServer, router: Router) -> None:
    """Neither below the limit nor above it, where the connection ends."""
    before = memory(server)
    announced = header_with_lengths(255 << 20, 0, 0, 0, 0)
    beyond = header_with_lengths(256 << 20, 1, 0, 0, 0)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            sock = stack.enter_context(connect(server))
            sock.sendall(announced + b"x" * 1000)
        refused = stack.enter_context(connect(server))
        refused.sendall(beyond)
        assert refused.recv(1) == b""
        assert_golden(router.lookup(golden_batch()))
        assert memory(server) - before < 64
    assert "expected a frame of at most 268435456 bytes, got 268435457" in server.log()


def header_with_lengths(*lengths: int) -> bytes:
    return b"PSF1" + len(lengths).to_bytes(2, "little") + bytes(2) + b"".join(n.to_bytes(4, "little") for n in (*lengths, 0))


def test_who_holds_connections_without_a_word_keeps_nobody_out(server: EmbeddingServer, router: Router) -> None:
    before = memory(server)
    with contextlib.ExitStack() as stack, load_of(router, threads=1) as load:
        for k in range(MAX_CONNECTIONS + 200):
            sock = stack.enter_context(connect(server))
            sock.sendall(GOOD[: k % 50])  # some within a header, some within a body
        load.wait_for_more()
        with connect(server) as new:
            new.sendall(GOOD)
            assert read_frame(new, 2)
        assert load.failures == []
        assert memory(server, "Threads") * 1024 < MAX_CONNECTIONS + 400
    wait_until(lambda: memory(server, "Threads") * 1024 < 200, "their threads end with their connections")
    assert memory(server) - before < 100


def test_those_who_do_not_read_their_answers_hold_up_nobody(server: EmbeddingServer, router: Router) -> None:
    rows = frame(pb.LookupRequest(), parts(signs=300_000), bytes(8 * 300_000), b"", b"").in_turn(0)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(connect(server))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(b"".join(rows))
            sock.recv(100)  # its answer of 10 MB is under way
        with load_of(router) as load:
            load.wait_for_more()
        assert load.failures == []
        first = stack.enter_context(connect(server))
        first.sendall(GOOD)
        assert read_frame(first, 2)


def test_connections_that_wait_hold_little_of_what_they_were_answered(server: EmbeddingServer) -> None:
    rows = b"".join(frame(FOR_THE_SHARD, parts(signs=30_000), bytes(8 * 30_000), b"", b"").in_turn(0))
    before = memory(server)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            sock = stack.enter_context(connect(server))
            sock.sendall(rows)
            with sock.makefile("rb") as answer:
                assert answer.read(HEADER_BYTES + 30_000 * 8 * 4)[-1] == 0
        assert memory(server) - before < 80  # and not 240


def parts(signs: int) -> bytes:
    return b"".join(n.to_bytes(4, "little") for n in (0, 0, 8, 1, signs, 0))


def test_a_request_for_another_shard_is_refused(server: EmbeddingServer) -> None:
    with connect(server) as sock:
        sock.sendall(good_request(pb.LookupRequest(shard_index=1, shard_count=2)))
        answer = read_frame(sock, 2)
    response = pb.LookupResponse.FromString(answer[-header_of(answer[:HEADER_BYTES], 2)[1][1] :])
    assert response.error.message == "expected shard 1 of 2, got shard 0 of 1"
