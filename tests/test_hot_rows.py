"""When copies of a shard's rows are used: the clock, the order of answers and other servers, without a server."""

from __future__ import annotations

import time

import numpy as np
import pytest
from routing_reference import encode, signs_of_id

from persia import _core
from persia.config import parse_embedding_config
from persia.routing import make_slots
from persia.routing.hot_rows import HotRows, Origin
from persia.v1 import embedding_pb2 as pb

HOUR = 3600.0
CONFIG = parse_embedding_config("slots_config: {a: {dim: 2}, b: {dim: 3}}\nfeature_groups: {both: [a, b]}")
FIRST, SECOND = Origin(77, 0), Origin(77, 1)
OTHER = Origin(5, 9)


def signs(*ids: int) -> np.ndarray:
    return np.array([sign for id in ids for sign in signs_of_id(id, CONFIG.slots["a"])], np.uint64)


def hot_rows(*, alone: bool = True, max_bytes: int = 1 << 20) -> HotRows:
    return HotRows(max_bytes, 3, HOUR, lambda: alone)


def add(rows: HotRows, origin: Origin, value: float, ids: tuple[int, ...] = (1, 2), since: float | None = None) -> None:
    values = np.full((len(ids), 2), value, np.float32)
    since = time.monotonic() if since is None else since
    rows.add(origin, since, [(signs(*ids), values)], 0 if value else len(ids))


def look(rows: HotRows, *ids: int, feature: str = "a") -> tuple[float, int, int] | None:
    """Value, version, absent; None where the shard is to be asked."""
    plan = _core.make_plan(encode({feature: [[id] for id in ids]}), make_slots(CONFIG), 1)
    answer = rows.answer(plan.requests[0])
    if answer is None:
        return None
    return float(answer.columns[0].view(np.float16)[0]), answer.message.version, answer.message.absent


def test_only_a_request_of_which_all_is_known_is_answered() -> None:
    rows = hot_rows()
    assert look(rows, 1) is None
    add(rows, FIRST, 1.0)
    assert look(rows, 1) == look(rows, 2, 1) == (1.0, 0, 0)
    assert look(rows, 1, 2, 3) is None
    add(rows, FIRST, 0.0, (3,))
    assert look(rows, 1, 2, 3) == (1.0, 0, 1)
    assert look(rows, 1, 3, 4) is None
    assert look(rows, 1, feature="b") is None  # its rows have another dim
    rows.add(FIRST, time.monotonic(), [(signs(5), np.zeros((1, 2), np.float32))], 0)
    assert look(rows, 5) is None  # it has a row of another dim, or of zeros: the shard knows


def test_many_signs_are_answered_as_few_are() -> None:
    ids = tuple(range(1, 501))
    rows = hot_rows()
    add(rows, FIRST, 1.0, ids)
    assert look(rows, *ids) == (1.0, 0, 0)
    assert look(rows, *ids, 501) is None
    add(rows, FIRST, 0.0, tuple(range(501, 1001)))
    assert look(rows, *range(1, 1001)) == (1.0, 0, 500)
    assert look(rows, *range(1, 1002)) is None


def test_rows_are_used_until_their_version_has_not_been_confirmed_for_the_age() -> None:
    rows, now = hot_rows(), time.monotonic()
    add(rows, FIRST, 1.0, since=now - HOUR - 1)
    assert look(rows, 1) is None
    rows.saw(None, now)
    assert look(rows, 1) is None
    rows.saw(FIRST, now - HOUR / 2)
    assert look(rows, 1) == (1.0, 0, 0)
    rows.saw(FIRST, now - HOUR - 1)  # an answer that took its time takes nothing back
    assert look(rows, 1) == (1.0, 0, 0)


@pytest.mark.parametrize("alone", [True, False])
def test_a_newer_version_ends_the_rows_and_an_answer_that_came_late_does_not_bring_them_back(alone: bool) -> None:
    rows, now = hot_rows(alone=alone), time.monotonic()
    add(rows, FIRST, 1.0)
    rows.saw(SECOND, now)
    assert look(rows, 1) is None
    add(rows, FIRST, 1.0)
    rows.saw(FIRST, now)
    assert look(rows, 1) is None
    add(rows, SECOND, 2.0)
    rows.saw(FIRST, now)
    assert look(rows, 1) == (2.0, 1, 0)


def test_rows_of_two_versions_are_never_there_together() -> None:
    rows = hot_rows()
    add(rows, FIRST, 1.0, (1,))
    add(rows, FIRST, 0.0, (3,))
    add(rows, SECOND, 2.0, (2,))
    assert look(rows, 1) is None
    assert look(rows, 3) is None
    assert look(rows, 2) == (2.0, 1, 0)


def test_a_shard_that_is_another_server_now() -> None:
    rows = hot_rows()
    add(rows, FIRST, 1.0)
    rows.saw(OTHER, time.monotonic())
    assert look(rows, 1) is None
    add(rows, OTHER, 3.0)
    assert look(rows, 1) == (3.0, 9, 0)


def test_another_replica_neither_confirms_nor_ends_rows_and_takes_their_place_when_they_are_too_old() -> None:
    rows, now = hot_rows(alone=False), time.monotonic()
    add(rows, FIRST, 1.0)
    rows.saw(OTHER, now)
    add(rows, OTHER, 3.0)
    assert look(rows, 1) == (1.0, 0, 0)

    # While both are there, the one whose rows they are answers soon enough.
    rows = hot_rows(alone=False)
    add(rows, FIRST, 1.0, since=now - HOUR - 0.01)
    rows.saw(OTHER, now)
    assert look(rows, 1) is None
    rows.saw(FIRST, now)
    assert look(rows, 1) == (1.0, 0, 0)

    rows = hot_rows(alone=False)
    add(rows, FIRST, 1.0, since=now - HOUR - 60)
    assert rows.lacks(signs(1), 2).tolist() == [False]
    rows.saw(OTHER, now)
    assert look(rows, 1) is None
    assert rows.lacks(signs(1), 2).tolist() == [True]
    add(rows, OTHER, 3.0)
    assert look(rows, 1) == (3.0, 9, 0)


def test_a_server_that_does_not_say_which_start_it_is() -> None:
    assert Origin.of(pb.LookupResponse(version=3)) is None
    assert Origin.of(pb.LookupResponse(version=3, server_start=4, checkpoint_id=5)) == Origin(4, 3, 5)


@pytest.mark.parametrize("max_bytes", [1, 1 << 16, 1 << 20])
def test_bytes_are_bounded_also_when_dims_change(max_bytes: int) -> None:
    rows = hot_rows(max_bytes=max_bytes)
    for dim in (2, 3, 2):
        for begin in range(0, 40_000, rows.most_rows if max_bytes > 1 else 10_000):
            block = np.arange(begin, begin + rows.most_rows, dtype=np.uint64) + np.uint64(dim << 40)
            rows.add(FIRST, time.monotonic(), [(block, np.ones((len(block), dim), np.float32))], 0)
            assert rows.totals().bytes <= max_bytes
            assert max_bytes == 1 or rows.totals().rows <= max_bytes / 8


def test_what_comes_takes_the_place_of_as_much() -> None:
    rows = hot_rows(max_bytes=1 << 18)
    before = 0
    for begin in range(0, 40_000, rows.most_rows):
        add(rows, FIRST, 1.0, tuple(range(begin, begin + rows.most_rows)))
        assert rows.totals().rows >= before
        before = min(rows.totals().rows, 4 * rows.most_rows)
    assert before == 4 * rows.most_rows


def test_signs_without_a_row_take_no_rows_place() -> None:
    rows = hot_rows(max_bytes=1 << 18)
    add(rows, FIRST, 1.0)
    before = rows.totals().bytes
    add(rows, FIRST, 0.0, (3,))
    assert rows.totals().bytes > before
    for begin in range(10, 100_000, rows.most_rows):
        assert look(rows, 1, 2) == (1.0, 0, 0)
        add(rows, FIRST, 0.0, tuple(range(begin, begin + rows.most_rows)))


def test_signs_are_wanted_when_they_come_again() -> None:
    rows = hot_rows()
    look(rows, 1, 2)
    assert rows.sightings.take()[0].tolist() == []
    look(rows, 2, 3)
    look(rows, 2, feature="b")
    look(rows, 4)
    again, dims = rows.sightings.take()
    assert again.tolist() == signs(2).tolist() and dims.tolist() == [2]
    look(rows, 4, feature="b")
    again, dims = rows.sightings.take()
    assert again.tolist() == signs(4).tolist() and dims.tolist() == [3]
    assert rows.lacks(signs(1, 2), 2).tolist() == [True, True]
    add(rows, FIRST, 1.0, (1,))
    add(rows, FIRST, 0.0, (3,))
    assert rows.lacks(signs(1, 2, 3), 2).tolist() == [False, True, False]


def test_what_is_noted_is_bounded_and_each_feature_has_its_share() -> None:
    rows = hot_rows()
    many = encode({name: [[id for id in range(k, 100_000, 4)] for k in range(4)] for name in ("a", "b")})
    request = _core.make_plan(many, make_slots(CONFIG), 1).requests[0]
    for _ in range(30):
        assert rows.answer(request) is None
    again, dims = rows.sightings.take()
    assert len(again) <= 1 << 16
    rows.answer(request)
    rows.answer(request)
    again, dims = rows.sightings.take()
    assert 10_000 < len(again) <= 1 << 16
    assert set(dims.tolist()) == {2, 3}
