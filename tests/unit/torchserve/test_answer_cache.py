"""The cache of answers: what it keeps, what it forgets, and that nothing is made twice."""

from __future__ import annotations

import threading
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.answer_cache import ENTRY_BYTES, AnswerCache
from persia.errors import InvalidInput, PersiaError


def upper(keys: Sequence[bytes], made: list[bytes]) -> Callable[[list[int]], list[bytes]]:
    """Makes answers of keys, and notes which."""

    def make(indexes: list[int]) -> list[bytes]:
        made.extend(keys[i] for i in indexes)
        return [keys[i].upper() * 3 for i in indexes]

    return make


def size_of(key: bytes) -> int:
    return ENTRY_BYTES + 4 * len(key)


@given(
    st.lists(st.lists(st.text("abcdef", min_size=1, max_size=3).map(str.encode), max_size=8), max_size=30), st.integers(0, 2000)
)
def test_it_is_the_least_recently_used_that_is_forgotten(calls: list[list[bytes]], max_bytes: int) -> None:
    cache = AnswerCache(max_bytes)
    known: OrderedDict[bytes, int] = OrderedDict()
    hits = misses = 0
    for keys in calls:
        made: list[bytes] = []
        assert cache.answers(keys, upper(keys, made)) == [key.upper() * 3 for key in keys]
        distinct = list(dict.fromkeys(keys))
        assert made == [key for key in distinct if key not in known]
        hits, misses = hits + len(keys) - len(made), misses + len(made)
        for key in distinct:
            if key in known:
                known.move_to_end(key)
        for key in made:
            if size_of(key) <= max_bytes:
                known[key] = size_of(key)
            while sum(known.values()) > max_bytes:
                known.popitem(last=False)
        assert cache.counts() == (hits, misses, len(known), sum(known.values()))
        assert cache.counts().bytes <= max_bytes


def test_its_bytes_are_those_that_it_takes() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        cache = AnswerCache(1 << 20)
        for i in range(8000):
            cache.answers([i.to_bytes(32, "big")], lambda _, i=i: [i.to_bytes(100, "big")])  # type: ignore[misc]
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    counts = cache.counts()
    assert 2000 < counts.entries < 8000
    assert counts.bytes * 0.6 < taken < 1 << 20


def test_an_error_is_given_and_not_kept() -> None:
    cache = AnswerCache(1 << 20)
    outcomes: list[bytes | PersiaError] = [InvalidInput("no"), b"yes"]
    first = cache.answers([b"a", b"b"], lambda indexes: [outcomes[i] for i in indexes])
    assert first == outcomes
    asked: list[list[int]] = []

    def again(indexes: list[int]) -> list[bytes]:
        asked.append(indexes)
        return [b"now"]

    assert cache.answers([b"a", b"b"], again) == [b"now", b"yes"]
    assert asked == [[0]]


def test_nothing_of_a_call_that_raises_is_kept_and_its_keys_are_free_again() -> None:
    cache = AnswerCache(1 << 20)

    def fail(indexes: list[int]) -> list[bytes]:
        raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError):
        cache.answers([b"a"], fail)
    with pytest.raises(ValueError, match="zip"):
        cache.answers([b"a"], lambda _: [])
    assert cache.answers([b"a"], lambda _: [b"1"]) == [b"1"]


def test_what_several_threads_ask_for_is_made_by_one() -> None:
    cache = AnswerCache(1 << 20)
    begun, go_on = threading.Event(), threading.Event()
    made: list[str] = []

    def slowly(indexes: list[int]) -> list[bytes]:
        made.append("slowly")
        begun.set()
        assert go_on.wait(30)
        return [b"1"]

    def other(indexes: list[int]) -> list[bytes]:
        made.append("other")
        assert indexes == [1]
        go_on.set()  # reached while the first is at work: own work comes before waiting
        return [b"2"]

    answers: list[list[bytes]] = []
    first = threading.Thread(target=lambda: answers.append(cache.answers([b"a"], slowly)))
    first.start()
    assert begun.wait(30)
    assert cache.answers([b"a", b"b"], other) == [b"1", b"2"]
    first.join(30)
    assert answers == [[b"1"]]
    assert made == ["slowly", "other"]


def test_who_waits_for_a_maker_that_fails_makes_it_itself() -> None:
    cache = AnswerCache(1 << 20)
    begun, go_on = threading.Event(), threading.Event()

    def fail(indexes: list[int]) -> list[bytes | PersiaError]:
        begun.set()
        assert go_on.wait(30)
        return [InvalidInput("of this call only")]

    failed: list[list[bytes | PersiaError]] = []
    first = threading.Thread(target=lambda: failed.append(cache.answers([b"a"], fail)))
    first.start()
    assert begun.wait(30)

    def mine(indexes: list[int]) -> list[bytes]:
        go_on.set()
        return [b"mine" for _ in indexes]

    assert cache.answers([b"b", b"a"], mine) == [b"mine", b"mine"]
    first.join(30)
    assert isinstance(failed[0][0], InvalidInput)


def test_less_room_than_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="got -1"):
        AnswerCache(-1)
