"""A plan in words, and as JSON; each figure with how far off the model was elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from persia.planning.planner import MOST_MACHINES, Demand, Layout, Plan, Planner, with_other
from persia.planning.trial import TROUBLES, Trial
from persia.planning.workload import GIB

__all__ = ["as_json", "as_text", "helps"]

_WHAT = {
    "memory": "the memory of a machine",
    "rows": "how many rows a shard can address",
    "cores": "the cores of a machine",
    "network": "the network of a machine",
}

# Of which each router has a thread. From here on they are a burden in each process of a handler.
_MANY_SERVERS = 200


def as_json(planner: Planner, plan: Plan | None, trial: Trial | None = None) -> dict[str, Any]:
    """Of a plan, or of what stands in its way."""
    points = planner.model.points
    common = {
        "possible": plan is not None,
        "workload": asdict(planner.workload),
        "machines": asdict(planner.machines),
        "points": {"machine": points.machine, "date": points.date},
        "errors": {name: asdict(misfit) for name, misfit in planner.model.misfits.items()},
    }
    if plan is None:
        nearest = planner.nearest()
        return common | {
            "binds": _binds(nearest),
            "nearest": None if nearest is None else {"layout": asdict(nearest[0]), "demand": asdict(nearest[1])},
            "helps": helps(planner),
        }
    figures = asdict(plan) | {"machines": plan.layout.machines}
    return common | {"plan": figures} | ({} if trial is None else {"simulation": trial.as_json()})


def as_text(planner: Planner, plan: Plan | None, trial: Trial | None = None) -> str:
    """Several lines."""
    lines = [_workload_line(planner)]
    lines += _plan_lines(planner, plan) if plan is not None else _impossible_lines(planner)
    lines += [] if trial is None else _trial_lines(trial)
    return "\n".join([*lines, *_error_lines(planner)])


def helps(planner: Planner) -> list[str]:
    """What would make a plan possible, each by itself."""
    workload, machines = planner.workload, planner.machines
    found = []
    if (needed := planner.machines_needed()) is not None:
        found.append(f"{needed:,} machines like these")
    else:
        found.append(f"larger machines: {MOST_MACHINES:,} like these do not do")
    smaller = {"f32": ("f16", "int8"), "f16": ("int8",), "uint8": ("int8",), "int8": ()}[workload.storage]
    for storage in smaller:
        if with_other(planner, storage=storage).plan() is not None:
            found.append(f"rows in {storage} (row_storage)")
    for replicas in range(machines.replicas - 1, 0, -1):
        if with_other(planner, machines={"replicas": replicas}).plan() is not None:
            found.append(f"{replicas} {'replica' if replicas == 1 else 'replicas'} of each shard")
            break
    for name, unit, scale in (("memory", "GiB of memory", GIB), ("cores", "cores", 1), ("network", "Gbit/s", 1e9)):
        if (enough := _enough(planner, name)) is not None:
            found.append(f"machines with {enough / scale:,.0f} {unit} each")
    if workload.epochs and workload.changed and with_other(planner, epochs=1).plan() is not None:
        found.append("one earlier epoch (retained_epochs: 1)")
    return found


def _enough(planner: Planner, name: str) -> float | None:
    """Of one thing, by doubling; None: that alone does not do."""
    for doublings in range(1, 7):
        more: float = vars(planner.machines)[name] * 2**doublings
        if with_other(planner, machines={name: more}).plan() is not None:
            return more
    return None


def _binds(nearest: tuple[Layout, Demand] | None) -> list[str]:
    return ["machines"] if nearest is None else nearest[1].binding


def _workload_line(planner: Planner) -> str:
    workload = planner.workload
    rows = f"{workload.rows_later:,.0f} rows of dim {workload.dim} in {workload.storage}"
    asks = f"{workload.qps:,g} lookups/s of {workload.batch:,} samples with {workload.features} x {workload.ids:g} ids"
    return f"{rows}; {asks}\n"


def _plan_lines(planner: Planner, plan: Plan) -> list[str]:
    layout, machines, misfits = plan.layout, planner.machines, planner.model.misfits
    servers = f"{layout.machines:,} servers, each on a machine of its own, of {machines.count:,} machines"
    by_whom = f"{plan.middlewares} on these machines" if plan.middlewares else "none: handlers ask the servers"
    loss = f", {plan.cores_busy_with_a_loss:.0%} while one is lost" if layout.replicas > 1 else ""
    busy = f"{plan.cores_busy:.0%} of {machines.cores:g} cores busy on the busiest machine{loss}"
    work = f"{plan.server_seconds * 1e6:,.0f} us in all servers, {plan.router_seconds * 1e6:,.0f} us in who asks them"
    latency = ", ".join(f"{name} {seconds * 1e3:.2g} ms" for name, seconds in plan.latency.items())
    table = [
        ("shards", f"{layout.shards:,}", ""),
        ("replicas", f"{layout.replicas}: {servers}", ""),
        ("middlewares", by_whom, ""),
        ("memory", f"{plan.server_bytes / GIB:,.2f} GiB a server, of {machines.memory / GIB:,.0f}", _off(planner, "memory")),
        ("cores", busy, ""),
        ("", f"a lookup takes {work}", f"({misfits['servers'].median:.0%} and {misfits['routers'].median:.0%} off)"),
        ("network", f"{plan.network_bits / 1e9:.2g} of {machines.network / 1e9:g} Gbit/s on the busiest machine", ""),
        ("", f"a lookup asks {plan.asked:,.4g} shards, with {plan.lookup_bytes:,.0f} bytes", ""),
        ("latency", latency, f"({misfits['p50'].median:.0%} and {misfits['p99'].median:.0%} off)"),
    ]
    return [f"{name:12} {words} {off}".rstrip() for name, words, off in table] + _notes(planner, plan)


def _trial_lines(trial: Trial) -> list[str]:
    latency = ", ".join(f"{name} {seconds * 1e3:.2g} ms" for name, seconds in trial.latency.items())
    met = f"{trial.lookups:,} lookups, {trial.failed:,} failed, {trial.asked_again:,} calls made again"
    lag = f"; 99 % of the answers lag by at most {trial.lag_p99:.2g} s" if trial.lag_p99 else ""
    stalls, slow = f"{1 / TROUBLES.stalls_per_second:g} s", f"{TROUBLES.slow_share:.0%}"
    lost = f"each lost once in {1 / TROUBLES.losses_per_second:,.0f} s"
    with_ = f"a stall of {TROUBLES.stall_seconds * 1e3:g} ms on each machine every {stalls}, {slow} slow, {lost}"
    table = [("simulated", latency), ("", f"{met}{lag}"), ("", f"with {with_}")]
    return [f"{name:12} {words}" for name, words in table]


def _off(planner: Planner, name: str) -> str:
    return f"({planner.model.misfits[name].median:.0%} off)"


def _notes(planner: Planner, plan: Plan) -> list[str]:
    """What a figure alone does not say."""
    workload, notes = planner.workload, []
    if planner.machines.replicas == 1:
        notes.append("With one replica, lookups fail while a machine is lost.")
    servers = plan.layout.shards * plan.layout.replicas
    if workload.handlers and servers > _MANY_SERVERS:
        notes.append(f"Each process of a handler has a thread for each of the {servers:,} servers, which asks how it is. With")
        notes.append("clients_ask_shards: false middlewares ask instead: plan that without --handlers.")
    if workload.epochs and workload.changed:
        model = planner.model
        row = model.row_bytes(workload.storage, workload.dim) * workload.rows_later
        earlier = workload.epochs * workload.changed * model.changed_row_bytes(workload.storage, workload.dim)
        if (percent := earlier / row * 100) > 10:
            said = f"Earlier epochs take {percent:.0f} % of the rows' memory"
            notes.append(f"{said}: set retained_epochs_percent to that or more.")
    return [f"{'note':12} {note}" for note in notes]


def _impossible_lines(planner: Planner) -> list[str]:
    nearest, machines = planner.nearest(), planner.machines
    lines = ["No layout on these machines does that."]
    if nearest is None:
        want = f"{machines.replicas} replicas of a shard want {machines.replicas} machines"
        lines.append(f"binds: {want}, there {_are(machines.count)}")
    else:
        layout, demand = nearest
        shards = f"{layout.shards:,} {'shard' if layout.shards == 1 else 'shards'}"
        lines.append(f"The nearest has {shards} with {layout.replicas} replicas.")
        for name in demand.binding:
            lines.append(f"binds: {_WHAT[name]}, of which it wants {vars(demand)[name]:.3g} times what it may have")
    return [*lines, *(f"helps: {help_}" for help_ in helps(planner))]


def _error_lines(planner: Planner) -> list[str]:
    points = planner.model.points
    lines = ["", f"The model is fitted to points of {points.date} ({points.machine}), and held against others:"]
    names = {"servers": "work of servers", "routers": "work of who asks"}
    lines += [f"  {names.get(name, name):16} {misfit}" for name, misfit in planner.model.misfits.items()]
    return [*lines, "Your machines differ: measure them with benchmarks/measure_plan_points.py, and give --points FILE."]


def _are(count: int) -> str:
    return f"{'is' if count == 1 else 'are'} {count:,}"
