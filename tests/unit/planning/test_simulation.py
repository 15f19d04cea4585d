"""The simulation: its rules are those of the router, and troubles show as they should."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persia import _core
from persia.planning.simulation import (
    BUDGET_AT_ONCE,
    BUDGET_PER_SECOND,
    BUDGET_SHARE,
    LOOK_SECONDS,
    SLOW_SECONDS,
    Budgets,
    Epochs,
    Fleet,
    Outcome,
    Simulation,
    Troubles,
    newest_common,
)
from persia.routing.lookup import RouterOptions
from tests.support.examples import examples
from tests.support.places import ROOT

QUIET = Troubles(stalls_per_second=0, slow_share=0)
FLEET = Fleet(shards=20, replicas=2, call_work=1e-3, router_work=1e-3, busy=0.0)
ONE_SECOND = RouterOptions(timeout=1.0)

window = st.one_of(st.just((0, 0)), st.tuples(st.integers(1, 8), st.integers(0, 6)).map(lambda pair: (pair[0], sum(pair))))


@given(st.lists(st.tuples(window, window), min_size=1, max_size=6))
def test_the_epoch_that_is_chosen_is_the_one_that_the_router_chooses(shards: list[tuple[tuple[int, int], ...]]) -> None:
    low, high = (np.array([[one[i] for one in replicas] for replicas in shards], np.int64) for i in (0, 1))
    assert newest_common(low, high, np.ones(low.shape, bool)) == _core.net.newest_common([list(one) for one in shards])


def test_shards_without_a_usable_server_have_no_say() -> None:
    low, high = np.ones((2, 1), np.int64), np.array([[3], [9]])
    assert newest_common(low, high, np.array([[False], [True]])) == 9
    assert newest_common(low, high, np.zeros((2, 1), bool)) == 0


@given(st.lists(st.one_of(st.none(), st.floats(0, 3)), max_size=300))
@settings(max_examples=examples(50))
def test_budgets_are_the_routers(steps: list[float | None]) -> None:
    """None: a call is asked for the first time; else so much later, one is asked again, several times."""
    ours, theirs, now = Budgets(2), _core.net.RetryBudget(), 100.0
    shard = np.array([1])
    for step in steps:
        if step is None:
            ours.earn(shard)
            theirs.earn()
            continue
        now += step
        for _ in range(20):
            assert bool(ours.spend(shard, now)[0]) == theirs.spend(now)


def test_constants_are_those_of_the_native_core() -> None:
    text = "".join(
        (ROOT / "native" / "routing" / name).read_text() for name in ("retry_budget.hpp", "replica.hpp", "attempts.cpp")
    )
    found = dict(re.findall(r"\b(k\w+)(?: = |\{)([\d.]+)", text))
    assert (float(found["kShare"]), float(found["kPerSecond"]), float(found["kAtOnce"])) == (
        BUDGET_SHARE,
        BUDGET_PER_SECOND,
        BUDGET_AT_ONCE,
    )
    assert (float(found["kSlowFor"]) / 1e3, float(found["kLook"]) / 1e3) == (SLOW_SECONDS, LOOK_SECONDS)


def outcome(
    fleet: Fleet = FLEET, troubles: Troubles = QUIET, epochs: Epochs | None = None, rate: float = 50, seconds: float = 10
) -> Outcome:
    return Simulation(fleet, troubles, epochs, seconds=seconds, options=ONE_SECOND).run(rate)


def test_without_troubles_each_lookup_takes_its_work() -> None:
    found = outcome()
    assert found.failed == found.hedges == found.waited == 0 and found.calls == found.lookups * 20
    assert found.latencies == pytest.approx(2e-3 + FLEET.ways)


def test_the_same_seed_gives_the_same_answers() -> None:
    once, again = (outcome(troubles=Troubles(), epochs=Epochs()) for _ in range(2))
    assert (once.latencies == again.latencies).all() and (once.epochs == again.epochs).all()


def test_more_shards_wait_longer_for_the_slowest() -> None:
    stalls = Troubles(stalls_per_second=0.2, stall_seconds=0.03, slow_share=0)
    few, many = (outcome(replace(FLEET, shards=shards), stalls) for shards in (5, 200))
    assert few.quantile(0.9) < many.quantile(0.9)


def test_hedges_cut_stalls_where_there_is_another_replica() -> None:
    stalls = Troubles(stalls_per_second=0.02, stall_seconds=0.4, slow_share=0)
    alone, two = (outcome(replace(FLEET, replicas=replicas), stalls, seconds=30) for replicas in (1, 2))
    assert alone.hedges == 0 < two.hedges
    assert two.quantile(0.99) < 0.6 * alone.quantile(0.99)
    assert two.calls - two.hedges == two.lookups * 20


def test_a_lost_machine_costs_lookups_only_where_it_was_the_only_replica() -> None:
    losses = Troubles(stalls_per_second=0, slow_share=0, losses_per_second=0.02, loss_seconds=2.0)
    alone, three = (outcome(replace(FLEET, replicas=replicas), losses, seconds=8) for replicas in (1, 3))
    assert alone.failed > 0 == three.failed
    assert three.quantile(1.0) == pytest.approx(ONE_SECOND.hedge_after + 2e-3 + FLEET.ways, rel=0.1)


def test_epochs_never_fall_and_answers_lag_by_the_slowest_shard() -> None:
    few, many = (outcome(replace(FLEET, shards=shards), epochs=Epochs(every=0.5)) for shards in (2, 100))
    for found in (few, many):
        assert (np.diff(found.epochs) >= 0).all() and found.epochs[-1] > 10 and (found.lags >= 0).all()
    assert np.mean(few.lags) < np.mean(many.lags) < 1.0


def test_epochs_do_not_fall_when_a_machine_is_lost_that_alone_had_the_newest() -> None:
    losses = replace(QUIET, losses_per_second=0.05, loss_seconds=5.0)
    found = outcome(replace(FLEET, shards=4), losses, Epochs(every=0.2, build_median=0.5, build_p99=20.0), seconds=20)
    assert (np.diff(found.epochs) >= 0).all() and found.epochs[-1] > 3


def test_a_caller_that_waits_meets_a_stall_once() -> None:
    """While it waits, others would meet the same stall; after that the replica counts as slow."""
    stalls = np.full((2, 1, 1, 2), -1e9)
    stalls[:, 0, 0, 0] = 1.0, 1.4
    late = []
    for one_caller in (True, False):
        simulation = Simulation(replace(FLEET, shards=1), QUIET, None, seconds=2, stalls=stalls)
        outcome = simulation.run(at=np.arange(0.5, 2, 0.01), one_caller=one_caller)
        late.append(int((outcome.latencies > 0.05).sum()))
    assert late[0] == 1 < late[1] <= 6


def test_a_small_lookup_asks_few_shards() -> None:
    found = outcome(replace(FLEET, asked=3))
    assert found.calls == 3 * found.lookups
