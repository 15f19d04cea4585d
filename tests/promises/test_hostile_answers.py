"""Bytes that are no answers, on their way back to a router. On their way to a server: test_hostile_calls.py."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from persia.errors import PersiaError, Unavailable
from persia.v1 import embedding_pb2 as pb
from tests.support.proxies import FRAME_HEADER_BYTES, Garbler, Spoiler
from tests.support.replicas import Replicas, assert_golden, golden_batch, router_of
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingServer]:
    with Replicas(tmp_path_factory.mktemp("shards"), count=1) as started:
        yield started.shards[0][0]


@pytest.fixture
def spoiler(server: EmbeddingServer) -> Iterator[Spoiler]:
    with Spoiler(server) as spoiler:
        yield spoiler


def changed(change: Callable[[pb.LookupResponse], object]) -> Callable[[bytes], bytes]:
    def spoil(answer: bytes) -> bytes:
        response = pb.LookupResponse.FromString(answer)
        change(response)
        return response.SerializeToString()

    return spoil


def set_numbers(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return changed(lambda response: setattr(response, "numbers", change(response.numbers)))


ANSWERS: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "no message": (lambda a: b"HTTP/1.1 200 OK\r\n\r\n" * 3, "an invalid answer: at byte 2: expected a field"),
    "cut off": (lambda a: a[:-1], r"an invalid answer: at byte \d+: expected"),
    "empty": (lambda a: b"", "an invalid answer: expected"),
    "too few numbers": (set_numbers(lambda n: n[:-400]), r"expected \d+ numbers of 4 bytes, got \d+ bytes"),
    "too many numbers": (set_numbers(lambda n: n + bytes(4)), r"expected \d+ numbers of 4 bytes, got \d+ bytes"),
    "half a number": (set_numbers(lambda n: n[:-2]), r"expected \d+ numbers of 4 bytes, got \d+ bytes"),
    "too few misses": (
        changed(lambda response: setattr(response, "misses", np.zeros(2, np.uint32).tobytes())),
        r"expected misses of \d+ parts in \d+ bytes, got 8",
    ),
    "another checkpoint": (
        changed(lambda response: setattr(response, "checkpoint_id", response.checkpoint_id + 1)),
        "expected one of checkpoint [0-9a-f]{16}, got one of [0-9a-f]{16}",
    ),
    "nothing": (lambda a: None, "in time, got none from|Deadline Exceeded"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_spoiled_answer_is_no_answer(spoiler: Spoiler, kind: str) -> None:
    spoil, message = ANSWERS[kind]
    seconds = 0.3 if kind == "nothing" else PATIENCE  # what is spoiled is refused long before
    with router_of([[spoiler.address]], wait_for_shard=0.1) as router:
        assert_golden(router.lookup(golden_batch()))
        spoiler.spoil = spoil
        for _ in range(3):
            with pytest.raises((Unavailable, TimeoutError), match=message) as caught:
                router.lookup(golden_batch(), seconds)
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


def test_any_mutation_of_a_message_gives_the_tensors_or_a_typed_error(spoiler: Spoiler) -> None:
    """But for the numbers themselves, which nothing tells from others."""
    rng = random.Random(9)

    def spoil(answer: bytes) -> bytes:
        if rng.random() < 0.3:
            return answer
        spoiled = bytearray(answer)
        end = answer.index(pb.LookupResponse.FromString(answer).numbers)
        spoiled[rng.randrange(end)] = rng.randrange(256)
        return bytes(spoiled[: rng.choice([len(spoiled), len(spoiled), rng.randrange(len(spoiled))])])

    spoiler.spoil = spoil
    with router_of([[spoiler.address]], wait_for_shard=0.1) as router:
        golden_or_refused(lambda: assert_golden(router.lookup(golden_batch(), 0.2)))


def test_any_mutation_of_http2_gives_the_tensors_or_a_typed_error(server: EmbeddingServer) -> None:
    rng = random.Random(10)

    def spoil(frame: bytes) -> bytes:
        if rng.random() < 0.95:
            return frame
        spoiled = bytearray(frame)
        is_data = frame[3] == 0
        spoiled[rng.randrange(FRAME_HEADER_BYTES if is_data else len(spoiled))] = rng.randrange(256)
        return bytes(spoiled[: rng.choice([len(spoiled), len(spoiled), rng.randrange(len(spoiled))])])

    with Garbler(server.address) as garbler, router_of([[garbler.address]], wait_for_shard=0.1) as router:
        garbler.spoil = spoil
        golden_or_refused(lambda: assert_golden(router.lookup(golden_batch(), 0.2)))
        garbler.spoil = bytes
        garbler.cut()
        wait_until(lambda: not router.why_not_ready(), "it is well again")
        assert_golden(router.lookup(golden_batch()))


def golden_or_refused(look: Callable[[], None]) -> None:
    """Of many lookups some must be answered, and some refused: what is spoiled is asked for again."""
    refused = 0
    for _ in range(60):
        try:
            look()
        except PersiaError:
            refused += 1
    assert 0 < refused < 60
