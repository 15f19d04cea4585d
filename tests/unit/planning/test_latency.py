"""Waits and the slowest of many, beside a queue that is gone through call by call."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persia.planning.latency import Pauses, Station, lookup_quantiles, slowest_of, waits_at_all
from tests.support.examples import examples

NO_PAUSES = Pauses(0.0, 1e-6)
TIMES = np.linspace(0, 1, 2000) ** 2 * 20.0


def queue(cores: int, busy: float, calls: int) -> np.ndarray:
    """How long calls wait for a processor, of those whose work is 1 s on average."""
    rng = np.random.default_rng(5)
    arrivals = np.cumsum(rng.exponential(1 / (cores * busy), calls))
    work = rng.exponential(1.0, calls)
    free, waits = [0.0] * cores, np.empty(calls)
    for i, now in enumerate(arrivals):
        begin = max(now, heapq.heappop(free))
        waits[i] = begin - now
        heapq.heappush(free, begin + work[i])
    return waits


@pytest.mark.parametrize(("cores", "busy"), [(1, 0.5), (4, 0.7), (8, 0.85)])
def test_waits_are_those_of_a_queue(cores: int, busy: float) -> None:
    waits = queue(cores, busy, 60_000)
    assert waits_at_all(cores, busy) == pytest.approx(np.mean(waits > 0), rel=0.1)
    beyond = Station(cores, busy, 1.0).beyond(TIMES, NO_PAUSES)
    for time in (0.2, 0.5, 1.0):
        assert np.interp(time, TIMES, beyond) == pytest.approx(np.mean(waits > time), rel=0.15, abs=0.002)


def test_the_slowest_of_many_is_that_of_many_draws() -> None:
    pauses = Pauses(0.02, 0.5)
    beyond = Station(4, 0.5, 0.01).beyond(TIMES, pauses)
    rng = np.random.default_rng(6)
    drawn = np.where(rng.random((4000, 50)) < 0.02, rng.exponential(0.5, (4000, 50)), 0).max(axis=1)
    for time in (0.25, 1.0, 2.0):
        assert np.interp(time, TIMES, slowest_of(beyond, 50)) == pytest.approx(np.mean(drawn > time), rel=0.1, abs=0.004)


def quantiles(busy: float = 0.5, calls: float = 4, hedge_after: float | None = None, share: float = 0.01) -> list[float]:
    return lookup_quantiles(
        Station(4, busy, 1e-3),
        Station(4, busy, 1e-3),
        calls,
        Pauses(share, 0.2),
        ways=1e-4,
        hedge_after=hedge_after,
        shares=[0.5, 0.99, 0.999],
    )


def test_hedges_cut_the_longest_times_as_far_as_their_budget_goes() -> None:
    assert quantiles(hedge_after=0.1)[2] < 0.7 * quantiles()[2]
    # Where one call in three is late, one in ten may be asked twice: the rest stays late.
    assert quantiles(hedge_after=0.01, share=0.5, calls=1)[1] > 0.8 * quantiles(share=0.5, calls=1)[1]


@settings(max_examples=examples(25))
@given(st.floats(0.05, 0.9), st.floats(1, 500))
def test_more_to_do_and_more_shards_take_no_less(busy: float, calls: float) -> None:
    here = quantiles(busy, calls)
    assert here == sorted(here) and here[0] >= 2.1e-3
    for more in (quantiles(min(0.95, busy * 1.05), calls), quantiles(busy, calls * 1.5)):
        assert all(one <= other * 1.02 for one, other in zip(here, more, strict=True))


def test_between_whole_numbers_of_cores_waits_lie_between() -> None:
    assert waits_at_all(3, 0.6) < waits_at_all(2.5, 0.6) < waits_at_all(2, 0.6)
    assert waits_at_all(8, 0.0) == 0.0
