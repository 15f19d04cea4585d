"""Requests to a shard as bytes: spoiled ones end in an answer or a typed error, and alignment does not matter."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import Buffer

from persia import _core
from persia.config import parse_embedding_config
from persia.errors import InvalidInput, TooLarge
from persia.routing import make_slots
from tests.support.examples import examples
from tests.support.routing_reference import Samples, encode, load_shards

MAX_NUMBERS = 50_000
COLUMNS = ("parts", "signs", "sum_counts", "sum_samples")

CONFIG = parse_embedding_config(
    "{slots_config: {sums: {dim: 4}, raw: {dim: 5, embedding_summation: false}, "
    "stack: {dim: 8, hash_stack_config: {hash_stack_rounds: 2, embedding_size: 20}}}}"
)
FEATURES: dict[str, Samples] = {
    "sums": [range(40), range(20, 50), []],
    "raw": [[1, 2, 3], [], [3, 200]],
    "stack": [range(30), [1, 1], [5]],
}

PLAN = _core.make_plan(encode(FEATURES), make_slots(CONFIG), 2)
REQUESTS = [[getattr(request, column).tobytes() for column in COLUMNS] for request in PLAN.requests]


@pytest.fixture(scope="module")
def snapshot() -> _core.Snapshot:
    """Two rows of three, with whole numbers; some of them of another dim."""
    signs = sorted({int(sign) for request in PLAN.requests for sign in request.signs})
    rows = {sign: np.full(4 + sign % 5, sign % 100, np.float32) for sign in signs if sign % 3}
    return load_shards(rows, 1)[0]


def raw_answer(snapshot: _core.Snapshot, columns: Iterable[Buffer]) -> tuple[np.ndarray, int, int, bytes]:
    parts, signs, sum_counts, sum_samples = columns
    return _core.answer(snapshot, parts, signs, sum_counts, sum_samples, MAX_NUMBERS)


def answer(snapshot: _core.Snapshot, columns: Sequence[bytes | bytearray]) -> tuple[np.ndarray, int, int] | None:
    """None for a request that was refused as it should be."""
    try:
        numbers, absent, wrong_dim, misses = raw_answer(snapshot, columns)
    except (InvalidInput, TooLarge):
        return None
    assert len(numbers) <= MAX_NUMBERS
    assert absent + wrong_dim <= len(columns[1]) // 8
    by_part = np.frombuffer(misses, np.uint32).reshape(-1, 2)
    assert tuple(by_part.sum(axis=0)) == (absent, wrong_dim)
    assert len(by_part) == (len(columns[0]) // 24 if absent or wrong_dim else 0)
    return numbers, absent, wrong_dim


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("offset", range(1, 8))
def test_alignment_does_not_matter(snapshot: _core.Snapshot, request_: list[bytes], offset: int) -> None:
    want = raw_answer(snapshot, request_)
    moved = [memoryview(b"\xff" * offset + column + b"\xff")[offset:-1] for column in request_]
    got = raw_answer(snapshot, moved)
    np.testing.assert_array_equal(got[0], want[0], strict=True)
    assert got[1:] == want[1:]
    assert want[0].any() and want[1] and want[2]


@settings(max_examples=examples(300))
@given(
    request_=st.sampled_from(REQUESTS),
    column=st.integers(0, 3),
    at=st.integers(0, 10_000),
    junk=st.one_of(
        st.binary(max_size=24),
        st.sampled_from([b"\0" * 4, b"\1\0\0\0", b"\xff" * 4, b"\xff" * 8, b"\xff\xff\0\0", b"\0\0\1\0"]),
    ),
    insert=st.booleans(),
)
def test_a_spoiled_column(
    snapshot: _core.Snapshot, request_: list[bytes], column: int, at: int, junk: bytes, insert: bool
) -> None:
    spoiled = bytearray(request_[column])
    at %= len(spoiled) + 1
    spoiled[at : at if insert else at + len(junk)] = junk
    answer(snapshot, [*request_[:column], bytes(spoiled), *request_[column + 1 :]])


def test_spoiled_requests_by_the_thousand(snapshot: _core.Snapshot) -> None:
    """Most are refused, some are answered, and memory does not follow what the requests claim."""
    rng = random.Random(7)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answered = 0
    for _ in range(20_000):
        columns = [bytearray(column) for column in rng.choice(REQUESTS)]
        for _ in range(rng.randint(1, 3)):
            column = columns[rng.choice((0, 0, rng.randrange(4)))]
            at = rng.randrange(len(column) + 1)
            match rng.randrange(4):
                case 0:
                    del column[at:]
                case 1:
                    column[at : at + 1] = bytes([rng.randrange(256)])
                case 2:
                    field = at // 4 * 4
                    column[field : field + 4] = rng.choice((0, 1, 2, 3, 65_536, 2**31, 2**32 - 1)).to_bytes(4, "little")
                case _:
                    column[at:at] = bytes(rng.randrange(1, 9))
        answered += answer(snapshot, columns) is not None
    assert 1_000 < answered < 19_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def part(**changes: int) -> bytes:
    fields = {"feature": 0, "kind": 1, "dim": 4, "samples": 3, "signs": 1, "positions": 2, **changes}
    return np.array(list(fields.values()), np.uint32).tobytes()


ONE_SIGN, TWO_PLACES = np.array([5], np.uint64).tobytes(), np.array([0, 2], np.uint16).tobytes()
GOOD = (part(), ONE_SIGN, np.array([2], np.uint32).tobytes(), TWO_PLACES)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"parts": GOOD[0][:-1]}, "parts in items of 24 bytes, got 23"),
        ({"signs": ONE_SIGN + b"x"}, "signs in items of 8 bytes, got 9"),
        ({"sum_counts": GOOD[2][:-1]}, "sum_counts in items of 4 bytes, got 3"),
        ({"sum_samples": TWO_PLACES[:-1]}, "sum_samples in items of 2 bytes, got 3"),
        ({"parts": b""}, "expected 0 signs, got 1"),
        ({"signs": b""}, "expected 1 signs, got 0"),
        ({"parts": part(kind=0)}, "expected 0 counts, got 1"),
        ({"parts": part(kind=4)}, "an answer kind of 0 to 3, got 4"),
        ({"parts": part(dim=0)}, "a dim of 1 to 65535, got 0"),
        ({"parts": part(dim=65_536)}, "a dim of 1 to 65535, got 65536"),
        ({"parts": part(samples=2)}, "expected samples below 2, got 2"),
        ({"parts": part(positions=3)}, "expected 3 samples, got 2"),
        ({"sum_counts": np.array([2**32 - 1], np.uint32).tobytes()}, "expected 2 positions in the counts of a part"),
    ],
)
def test_a_refusal_says_why(snapshot: _core.Snapshot, changed: dict[str, bytes], problem: str) -> None:
    assert answer(snapshot, GOOD) is not None
    with pytest.raises(InvalidInput, match=problem):
        raw_answer(snapshot, {**dict(zip(COLUMNS, GOOD, strict=True)), **changed}.values())


@pytest.mark.parametrize("changed", [{"samples": 2**32 - 1}, {"kind": 0, "signs": 2**32 - 1}, {"dim": 65_535}])
def test_a_request_for_too_much_allocates_nothing(snapshot: _core.Snapshot, changed: dict[str, int]) -> None:
    with pytest.raises(TooLarge, match=f"at most {MAX_NUMBERS} numbers"):
        raw_answer(snapshot, [part(**changed), *GOOD[1:]])


def test_columns_that_are_no_bytes(snapshot: _core.Snapshot) -> None:
    for wrong in (None, "text", [1, 2]):
        with pytest.raises(TypeError):
            _core.answer(snapshot, wrong, b"", b"", b"", 0)  # type: ignore[arg-type]
    strided = memoryview(bytes(48))[::2]
    with pytest.raises(BufferError):
        _core.answer(snapshot, strided, b"", b"", b"", 0)
