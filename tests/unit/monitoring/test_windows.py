"""Rises of counters within a window, and quantiles of durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.monitoring.windows import Counters, Rise, Window, quantile, together

BOUNDS = (0.1, 0.2, 0.4)


def test_the_rise_is_that_of_the_window() -> None:
    window = Window(seconds=30)
    rises = [window.add(Counters(when=float(10 * i), start=1, lookups=(i * i, 0), failed=i)) for i in range(6)]
    assert [(rise.seconds, sum(rise.lookups), rise.failed) for rise in rises] == [
        (0, 0, 0),
        (10, 1, 1),
        (20, 4, 2),
        (30, 9, 3),
        (30, 15, 3),
        (30, 21, 3),
    ]
    assert [rise.rate for rise in rises[:2]] == [0.0, 0.1]


def test_a_server_that_has_started_anew_begins_at_nothing() -> None:
    window = Window()
    window.add(Counters(when=0, start=1, lookups=(100,)))
    assert window.add(Counters(when=2, start=2, lookups=(3,))).rate == 0
    assert window.add(Counters(when=4, start=2, lookups=(7,))).rate == 2


def test_a_feature_that_was_not_there_before_counts_whole() -> None:
    window = Window()
    window.add(Counters(when=0, start=1, features={"a": (5, 1)}))
    assert window.add(Counters(when=1, start=1, features={"a": (9, 1), "b": (2, 2)})).features == {"a": (4, 0), "b": (2, 2)}


def test_servers_together() -> None:
    one = Rise(2, (1, 2), 1, (4,), {"a": (1, 1)})
    other = Rise(3, (10, 20), 0, (), {"a": (2, 0), "b": (5, 5)})
    assert together([one, other, Rise()]) == Rise(3, (11, 22), 1, (4,), {"a": (3, 1), "b": (5, 5)})
    assert together([]) == Rise()


@pytest.mark.parametrize(
    ("rank", "counts", "expected"),
    [
        (0.5, (0, 0, 0, 0), None),
        (0.5, (10, 0, 0, 0), 0.05),
        (0.5, (0, 10, 0, 0), 0.15),
        (0.99, (50, 50, 0, 0), 0.198),
        (1.0, (1, 0, 1, 0), 0.4),
        (0.99, (0, 0, 0, 5), 0.4),
        (0.0, (0, 3, 0, 0), 0.1),
    ],
)
def test_quantiles(rank: float, counts: tuple[int, ...], expected: float | None) -> None:
    assert quantile(rank, BOUNDS, counts) == (pytest.approx(expected) if expected is not None else None)


@given(st.tuples(*[st.integers(0, 1000)] * 4), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_with_their_rank_and_stay_within_the_bounds(counts: tuple[int, ...], one: float, other: float) -> None:
    low, high = (quantile(rank, BOUNDS, counts) for rank in sorted((one, other)))
    if sum(counts):
        assert low is not None and high is not None
        assert 0 <= low <= high <= BOUNDS[-1]
    else:
        assert low is high is None
