"""Bytes that are no answers, on their way back to a router."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from proxies import Spoiler
from replicas import Replicas, assert_golden, golden_batch, router_of
from servers import EmbeddingServer, wait_until

from persia.errors import PersiaError, Unavailable
from persia.rpc.frames import HEADER_BYTES, frame, header_of
from persia.v1 import embedding_pb2 as pb

A_REQUEST = b"".join(frame(pb.LookupRequest(), b"", b"", b"", b"").in_turn(7))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingServer]:
    with Replicas(tmp_path_factory.mktemp("shards"), count=1) as started:
        yield started.shards[0][0]


@pytest.fixture
def spoiler(server: EmbeddingServer) -> Iterator[Spoiler]:
    with Spoiler(server) as spoiler:
        yield spoiler


Spoil = Callable[[bytes], bytes]


def with_lengths(answer: bytes, change: Callable[[int, int], tuple[int, int]]) -> bytes:
    _, (numbers, message) = header_of(answer[:HEADER_BYTES], 2)
    lengths = b"".join(n.to_bytes(4, "little") for n in change(numbers, message))
    return answer[:8] + lengths + answer[16:]


ANSWERS: dict[str, tuple[Spoil, str]] = {
    "another turn": (lambda a: a[:6] + bytes([a[6] ^ 1]) + a[7:], r"expected one to request \d+, got one to \d+"),
    "no frame": (lambda a: b"HTTP/1.1 200 OK\r\n\r\n" * 3, "expected a frame, which begins with"),
    "a request": (lambda a: A_REQUEST, "expected a frame of 2 columns"),
    "too long": (lambda a: with_lengths(a, lambda n, m: (1 << 31, m)), "expected a frame of at most 268435456 bytes"),
    "too few numbers": (
        lambda a: with_lengths(a[:HEADER_BYTES] + a[HEADER_BYTES + 400 :], lambda n, m: (n - 400, m)),
        r"expected \d+ numbers of 4 bytes, got \d+ bytes",
    ),
    "no message": (lambda a: with_lengths(a, lambda n, m: (n - 4, m + 4)), "an answer that is none"),
    "more than announced": (lambda a: a + a, "an answer that is none"),
    "nothing": (lambda a: b"", "in time"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_spoiled_answer_is_no_answer(spoiler: Spoiler, kind: str) -> None:
    spoil, message = ANSWERS[kind]
    with router_of([[spoiler.address]], wait_for_shard=0.1) as router:
        assert_golden(router.lookup(golden_batch()))
        spoiler.spoil = spoil
        for _ in range(3):
            with pytest.raises((Unavailable, TimeoutError), match=message) as caught:
                router.lookup(golden_batch(), 0.3)
            assert "shard 0 of 1" in str(caught.value) and spoiler.address in str(caught.value)
        spoiler.spoil = bytes
        wait_until(lambda: not router.why_not_ready(), "it is well again")
        assert_golden(router.lookup(golden_batch()))


def test_a_good_replica_answers_for_one_that_spoils(spoiler: Spoiler, server: EmbeddingServer) -> None:
    with router_of([[spoiler.address, server.address]]) as router:
        for spoil, _ in ANSWERS.values():
            spoiler.spoil = spoil
            for _ in range(4):
                assert_golden(router.lookup(golden_batch()))


def test_an_old_answer_is_never_taken_for_a_new_one(spoiler: Spoiler) -> None:
    answers = [b""]

    def one_late(answer: bytes) -> bytes:
        answers.append(answer)
        return answers[-2]

    spoiler.spoil = one_late
    with router_of([[spoiler.address]], wait_for_shard=0.1) as router:
        for _ in range(10):
            with pytest.raises((Unavailable, TimeoutError)):
                router.lookup(golden_batch(), 0.2)


def test_any_mutation_of_an_answer_gives_the_tensors_or_a_typed_error(spoiler: Spoiler) -> None:
    """But for the numbers themselves, which nothing tells from others."""
    rng = random.Random(9)

    def spoil(answer: bytes) -> bytes:
        if rng.random() < 0.3:
            return answer
        spoiled = bytearray(answer)
        spoiled[rng.randrange(HEADER_BYTES)] = rng.randrange(256)
        return bytes(spoiled[: rng.choice([len(spoiled), len(spoiled), rng.randrange(len(spoiled))])])

    spoiler.spoil = spoil
    refused = 0
    with router_of([[spoiler.address]], wait_for_shard=0.1) as router:
        for _ in range(60):
            try:
                assert_golden(router.lookup(golden_batch(), 0.2))
            except PersiaError:
                refused += 1
    assert 0 < refused < 60  # a spoiled answer is asked for again
