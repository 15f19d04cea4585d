"""A plan that is tried in the simulation, with troubles that a model of queues does not know."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from persia.planning.planner import Plan, Planner
from persia.planning.simulation import Epochs, Fleet, Simulation, Troubles

__all__ = ["TROUBLES", "Trial", "fleet_of", "try_plan"]

TROUBLES = Troubles(losses_per_second=1 / 3600)
# A router that does more takes longer to simulate, and meets nothing else.
MOST_PER_SECOND = 40.0


@dataclass(frozen=True)
class Trial:
    """What the lookups of one router met. Times in seconds."""

    lookups: int
    failed: int
    asked_again: int  # calls
    latency: dict[str, float]
    lag_p99: float  # since the oldest record that an answer does not have; 0 where servers follow no epochs

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"troubles": asdict(TROUBLES)}


def fleet_of(planner: Planner, plan: Plan) -> Fleet:
    """The servers of the plan."""
    asked = round(plan.asked)
    return Fleet(
        plan.layout.shards,
        plan.layout.replicas,
        call_work=plan.server_seconds / plan.asked,
        router_work=plan.router_seconds,
        ways=plan.ways,
        cores=planner.machines.cores,
        busy=plan.cores_busy,
        asked=asked if asked < plan.layout.shards else None,
    )


def try_plan(planner: Planner, plan: Plan, seconds: float) -> Trial:
    """For so long, always with the same troubles."""
    workload = planner.workload
    epochs = Epochs(retained=workload.epochs) if workload.epochs else None
    rate = min(MOST_PER_SECOND, workload.qps / (plan.middlewares or workload.handlers))
    outcome = Simulation(fleet_of(planner, plan), TROUBLES, epochs, seconds=seconds, options=planner.options).run(rate)
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return Trial(
        outcome.lookups,
        outcome.failed,
        outcome.hedges,
        {name: outcome.quantile(share) for name, share in shares.items() if not math.isnan(outcome.quantile(share))},
        float(np.quantile(outcome.lags, 0.99)) if len(outcome.lags) else 0.0,
    )
