"""What a plan may not do: fewer machines for more to serve, fewer shards than memory wants, or a limit that does not hold."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persia._core import bytes_per_row
from persia.config import config_keys
from persia.planning.model import CostModel
from persia.planning.planner import MOST_ROWS_OF_SHARD, Layout, Plan, Planner, with_other
from persia.planning.points import load_points
from persia.planning.workload import GIB, STORAGES, Machines, Workload
from tests.support.examples import examples

MODEL = CostModel(load_points())
WORKLOAD = Workload(rows=2 * 10**9, dim=16, qps=3000, batch=128, ids=4)
MACHINES = Machines(count=40, cores=16, memory=64 * GIB, network=25e9)

workloads = st.builds(
    Workload,
    rows=st.integers(1, 10**10),
    dim=st.sampled_from([4, 16, 64, 256]),
    qps=st.floats(1, 20_000),
    batch=st.sampled_from([1, 16, 128, 1000]),
    features=st.integers(1, 60),
    ids=st.sampled_from([1.0, 2.5, 16.0]),
    storage=st.sampled_from(STORAGES),
    epochs=st.sampled_from([0, 8]),
    changed=st.integers(0, 10**7),
    handlers=st.sampled_from([0, 20]),
)
machines_of = st.builds(
    Machines,
    count=st.integers(1, 60),
    cores=st.sampled_from([2.0, 16.0, 64.0]),
    memory=st.sampled_from([8.0 * GIB, 256.0 * GIB]),
    network=st.sampled_from([1e9, 25e9]),
    replicas=st.integers(1, 3),
)


def needed(planner: Planner) -> float:
    plan = planner.plan()
    return float("inf") if plan is None else plan.layout.machines


def plan_of(planner: Planner) -> Plan:
    plan = planner.plan()
    assert plan is not None
    return plan


def test_every_row_storage_of_the_servers_can_be_planned_with() -> None:
    """And costs what a table of it takes, within what the model is off by; uint8 has a scale and a bias, int8 a scale."""
    (known,) = [key.type for key in config_keys() if key.path.endswith(".row_storage")]
    assert set(STORAGES) == set(re.findall("`(.+?)`", known))
    for storage in STORAGES:
        for dim in (4, 16, 200):
            assert MODEL.row_bytes(storage, dim) == pytest.approx(bytes_per_row(storage, dim), rel=0.07)
    assert MODEL.row_bytes("uint8", 16) - MODEL.row_bytes("int8", 16) == pytest.approx(4, rel=0.05)


@settings(max_examples=examples(30))
@given(workloads, machines_of)
def test_a_plan_keeps_all_limits(workload: Workload, machines: Machines) -> None:
    planner = Planner(MODEL, workload, machines)
    plan = planner.plan()
    if plan is None:
        nearest = planner.nearest()
        assert nearest is None or nearest[1].binding
        return
    layout = plan.layout
    assert layout.machines <= machines.count and layout.replicas >= machines.replicas
    assert layout.shards >= planner.least_shards and not plan.demand.binding
    assert plan.server_bytes <= machines.memory * machines.most_memory
    assert workload.rows_later / layout.shards <= MOST_ROWS_OF_SHARD
    assert plan.cores_busy <= plan.cores_busy_with_a_loss <= machines.most_busy
    assert plan.network_bits <= machines.network * machines.most_busy
    assert 0 < plan.latency["p50"] <= plan.latency["p99"] <= plan.latency["p999"]
    assert (plan.middlewares == 0) == bool(workload.handlers)


@settings(max_examples=examples(30))
@given(workloads, machines_of, st.floats(1, 4))
def test_more_rows_or_more_lookups_want_no_fewer_machines(workload: Workload, machines: Machines, factor: float) -> None:
    here = needed(Planner(MODEL, workload, machines))
    assert here <= needed(Planner(MODEL, replace(workload, rows=int(workload.rows * factor)), machines))
    assert here <= needed(Planner(MODEL, replace(workload, qps=workload.qps * factor), machines))


@given(workloads, machines_of, st.integers(0, 30))
@settings(max_examples=examples(20))
def test_more_or_larger_machines_never_make_a_plan_impossible(workload: Workload, machines: Machines, more: int) -> None:
    here = needed(Planner(MODEL, workload, machines))
    assert needed(Planner(MODEL, workload, replace(machines, count=machines.count + more))) <= here
    assert needed(Planner(MODEL, workload, replace(machines, memory=machines.memory * 2))) <= here
    assert needed(Planner(MODEL, workload, replace(machines, cores=machines.cores * 2))) <= here


def test_memory_decides_where_little_is_asked() -> None:
    planner = Planner(MODEL, replace(WORKLOAD, qps=1.0), MACHINES)
    plan = plan_of(planner)
    assert plan.layout.shards == planner.least_shards > 1
    fewer = planner.demand(Layout(plan.layout.shards - 1, 2))
    assert fewer.binding == ["memory"]
    assert plan_of(with_other(planner, storage="f16")).layout.shards < plan.layout.shards
    grown = with_other(planner, growth=1.0)
    assert plan_of(grown).layout.shards > plan.layout.shards


def test_earlier_epochs_want_memory() -> None:
    planner = Planner(MODEL, WORKLOAD, MACHINES)
    with_epochs = with_other(planner, epochs=8, changed=2 * 10**7)
    assert with_epochs.server_bytes(4) - planner.server_bytes(4) == pytest.approx(8 * 2 * 10**7 * (64 + 31) / 4, rel=0.1)


def test_a_shard_has_no_more_rows_than_it_can_address() -> None:
    huge = replace(MACHINES, memory=1e6 * GIB, count=100)
    planner = Planner(MODEL, replace(WORKLOAD, rows=50 * 10**9), huge)
    assert plan_of(planner).layout.shards == planner.least_shards == 12


def test_a_lost_machine_leaves_its_work_to_the_other_replicas() -> None:
    workload = replace(WORKLOAD, rows=10**6, handlers=1)
    planner = Planner(MODEL, workload, replace(MACHINES, count=2))
    plan = plan_of(planner)
    assert plan.cores_busy_with_a_loss == pytest.approx(2 * plan.cores_busy, rel=0.05)


def test_a_tenth_of_the_cores_is_named_as_what_binds() -> None:
    slow = Planner(MODEL, replace(WORKLOAD, rows=10**6, qps=10_000), replace(MACHINES, count=2, cores=2.0, network=1e12))
    assert slow.plan() is None
    nearest = slow.nearest()
    assert nearest is not None and nearest[1].binding == ["cores"]
    more = slow.machines_needed()
    assert more is not None and more > 2
    assert plan_of(with_other(slow, machines={"count": more})).layout.machines == more
    assert with_other(slow, machines={"count": more - 1}).plan() is None


def test_of_layouts_with_as_many_machines_the_one_of_fewer_shards_is_taken() -> None:
    """Two shards with three replicas, or one with six, answer as much; but fewer shards are asked."""
    ties = 0
    for qps in range(5000, 50_000, 2500):
        workload = replace(WORKLOAD, rows=10**6, qps=float(qps), ids=1.0)
        planner = Planner(MODEL, workload, replace(MACHINES, cores=4.0, network=10e9))
        layout = plan_of(planner).layout
        others = [Layout(shards, layout.machines // shards) for shards in range(1, layout.machines // 2 + 1)]
        fitting = [one for one in others if one.machines == layout.machines and not planner.demand(one).binding]
        assert layout.shards == min(one.shards for one in fitting)
        ties += len(fitting) > 1
    assert ties


def test_fewer_machines_than_replicas_have_no_layout() -> None:
    planner = Planner(MODEL, WORKLOAD, replace(MACHINES, count=1))
    assert planner.plan() is None and planner.nearest() is None


def test_many_middlewares_cost_servers_their_probes() -> None:
    """With a fleet of a thousand, a middleware on each machine would ask each server how it is thousands of times a second."""
    few = replace(WORKLOAD, rows=10**12, qps=1000, batch=1, ids=1.0, epochs=4)
    planner = Planner(MODEL, few, replace(MACHINES, count=10_000))
    plan = plan_of(planner)
    assert plan.middlewares < plan.layout.machines / 2
