"""A thousand shards, simulated; and the simulation held against real processes at a few.

usage: PYTHONPATH=. python benchmarks/simulate_scale.py [--shards 10 100] [--seconds 60] [--rate 40] [--seed 0] [--only TEXT]
       PYTHONPATH=. python benchmarks/simulate_scale.py --validate 4 16 [--seconds 10]
       PYTHONPATH=. python benchmarks/simulate_scale.py --validate-stalls 4 [--seconds 30]

The rules are those of the router (persia/planning/simulation.py): whom it asks, hedges and their budget, what it hears of
epochs by answers and by probes, and which epoch it wants. Work of servers and of the router are those of the plan's points.
Lookups are of 128 samples with 26 features of one id, which ask every shard.

--validate starts so many embedding servers that follow epochs, one for each shard, and a router. Packets come, each lookup
notes its epoch and how long it took, and the servers' logs say when each had each epoch. The simulation gets these times and
those of the lookups, and has to say which epoch each lookup was answered from. The work of the router and of the servers is
compared with what the plan's model expects, which was fitted at up to eight shards.

--validate-stalls starts two servers for each shard, and stops one of them for a while now and then (SIGSTOP). The simulation
gets these times and those of the lookups, and has to say how many lookups wait until another replica is asked.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.formats.layout import EPOCHS, record_path
from persia.planning.model import CostModel
from persia.planning.points import load_points
from persia.planning.shape import Shape
from persia.planning.simulation import Epochs, Fleet, Outcome, Simulation, Troubles
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from tests.support.epoch_deployments import EpochDeployment, routers_of
from tests.support.epoch_rows import BATCH, DIM, IDS

SAMPLES, FEATURES, IDS_EACH, WIDTH = 128, 26, 1, 16
EVERY = 0.5  # seconds between two packets of the validation
PAUSE = 0.03  # and between two lookups
WORKED = 400  # lookups whose work is measured
IDLE = 4.0  # seconds without any
STOP_EVERY, STOPPED = 1.0, 0.4  # seconds from one stop of a server to the next, about, and of each
OPTIONS = RouterOptions(timeout=1.0)
AN_HOUR = 3600.0

_Times = npt.NDArray[np.float64]


def fleet_of(model: CostModel, shards: int, replicas: int, busy: float = 0.3) -> Fleet:
    shape = Shape(SAMPLES, FEATURES, IDS_EACH, float(SAMPLES * IDS_EACH), WIDTH, shards)
    work = model.shard_seconds(shape) / shape.asked
    router = model.router_seconds(shape, "middleware")
    return Fleet(shards, replicas, call_work=work, router_work=router, ways=model.hop_seconds["middleware"], busy=busy)


@dataclass(frozen=True)
class Scenario:
    replicas: int
    troubles: Troubles = field(default_factory=Troubles)
    epochs: Epochs | None = None
    options: RouterOptions = OPTIONS


LOSSES = Troubles(losses_per_second=1 / AN_HOUR)
SCENARIOS = {
    "nothing goes wrong": Scenario(2, Troubles(stalls_per_second=0, slow_share=0)),
    "stalls and slow machines, 1 replica": Scenario(1),
    "stalls and slow machines, 2 replicas": Scenario(2),
    "the same, hedge_after_ms 20": Scenario(2, options=replace(OPTIONS, hedge_after=0.02)),
    "2 replicas, an epoch each second": Scenario(2, epochs=Epochs(1.0)),
    "2 replicas, an epoch each 0.2 s": Scenario(2, epochs=Epochs(0.2)),
    "2 replicas, an epoch each second, each machine lost once an hour": Scenario(2, LOSSES, Epochs(1.0)),
    "3 replicas, an epoch each second, each machine lost once an hour": Scenario(3, LOSSES, Epochs(1.0)),
}


def line(outcome: Outcome) -> str:
    p50, p99, p999 = (f"{outcome.quantile(share) * 1e3:,.1f}" for share in (0.5, 0.99, 0.999))
    failed = f"{outcome.failed / outcome.lookups:.2%}"
    hedges = f"{outcome.hedges / max(1, outcome.calls - outcome.hedges):.3%}"
    lags = [f"{np.quantile(outcome.lags, share):.2f}" for share in (0.5, 0.99)] if outcome.epochs.max(initial=0) else ["", ""]
    calls = f"{outcome.calls / outcome.lookups:,.1f}"
    waited = f"{outcome.waited / outcome.lookups:.2%}"
    return " | ".join([p50, p99, p999, failed, calls, hedges, waited, *lags])


def simulate(model: CostModel, shards: list[int], seconds: float, rate: float, seed: int, only: str) -> None:
    print("| shards | p50 ms | p99 ms | p99.9 ms | failed | calls | asked again | waited for an epoch | lag p50 s | p99 s |")
    for name, scenario in SCENARIOS.items():
        if only not in name:
            continue
        print(f"| {name} | | | | | | | | | |")
        for count in shards:
            fleet = fleet_of(model, count, scenario.replicas)
            simulation = Simulation(
                fleet, scenario.troubles, scenario.epochs, seconds=seconds, seed=seed, options=scenario.options
            )
            print(f"| {count:,} | {line(simulation.run(rate))} |", flush=True)


def limits(model: CostModel, shards: list[int], replicas: int = 2) -> None:
    """What grows with the number of shards whether something goes wrong or not."""
    points, watch = model.points, OPTIONS.watch
    print("| shards | router's work a lookup, ms | lookups/s of a core | threads that probe, probes/s of a router |")
    for count in shards:
        router = fleet_of(model, count, replicas).router_work
        probes = count * replicas / watch.epochs
        cores = f"{probes * points.probe_router_seconds:.2f} cores"
        print(f"| {count:,} | {router * 1e3:.2f} | {1 / router:,.0f} | {count * replicas:,}, {probes:,.0f} ({cores}) |")
    each = points.probe_server_seconds / watch.epochs
    print(f"A router costs each server {each * 1e3:.2f} ms of a core a second: {1 / each:,.0f} routers a whole core.")


def processor_seconds(pid: int) -> float:
    folders = list(Path(f"/proc/{pid}/task").iterdir())
    return sum(int((folder / "schedstat").read_text().split()[0]) for folder in folders) / 1e9


def epochs_of_log(text: str) -> dict[int, float]:
    """When the server had each epoch, by time.time()."""
    found = re.findall(r"^(\S+ \S+) INFO \S+ epoch (\d+): ", text, re.MULTILINE)
    return {int(epoch): datetime.strptime(when, "%Y-%m-%d %H:%M:%S,%f").timestamp() for when, epoch in found}


class Lookups:
    """When each was begun, how long it took, and the epoch of its answer."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.took: list[float] = []
        self.epochs: list[int] = []

    def make(self, router: Router, batch: _core.Batch) -> None:
        self.begun.append(time.time())
        lookup = router.lookup(batch)
        self.took.append(time.time() - self.begun[-1])
        self.epochs.append(lookup.epoch)


def compare_work(model: CostModel, router: Router, batch: _core.Batch, pids: list[int]) -> None:
    """Of lookups one after the other, beside what the model expects; without what the processes do when nobody looks up."""

    def taken() -> _Times:
        return np.array([processor_seconds(os.getpid()), sum(map(processor_seconds, pids)), time.monotonic()])

    for _ in range(50):
        router.lookup(batch)
    begin = taken()
    time.sleep(IDLE)
    middle = taken()
    for _ in range(WORKED):
        router.lookup(batch)
    end = taken()
    idle = (middle - begin)[:2] / (middle - begin)[2]
    real = ((end - middle)[:2] - idle * (end - middle)[2]) / WORKED
    shape = Shape(IDS, 1, 1, IDS, DIM, len(pids))
    expected = model.router_seconds(shape, "handlers"), model.shard_seconds(shape)
    for name, one, of_model in zip(("router", "servers"), real, expected, strict=True):
        print(f"  work of a lookup: {name} {one * 1e6:,.0f} us, expected {of_model * 1e6:,.0f} us ({of_model / one:.2f})")
    print(f"  without lookups: router {idle[0]:.3f} cores, each server {idle[1] / len(pids):.3f} cores")


def validate(model: CostModel, shards: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        deployment = EpochDeployment(Path(directory), stack, replicas=(1,) * shards)
        (router,) = stack.enter_context(routers_of(deployment, 1))
        batch = _core.decode_batch(BATCH)
        print(f"{shards} shards, load {os.getloadavg()[0]:.0f}")
        compare_work(model, router, batch, [server.process.pid for server in deployment.servers])
        first, lookups, began = router.lookup(batch).epoch, Lookups(), time.time()
        next_packet = began + EVERY
        while (now := time.time()) < began + seconds:
            if now >= next_packet:
                deployment.trainer.leave()
                next_packet += EVERY
            lookups.make(router, batch)
            time.sleep(PAUSE)
        logs = [epochs_of_log(server.log()) for server in deployment.servers]
        newest = min(max(log, default=first) for log in logs)
        records = {number: record_path(deployment.packets / EPOCHS, number) for number in range(first + 1, newest + 1)}
        commits = np.array([path.stat().st_mtime for path in records.values()]) - began
        built = np.array([[[log[number]] for log in logs] for number in records]) - began
    compare_epochs(lookups, first, began, commits, np.maximum.accumulate(built, axis=0))


def compare_epochs(lookups: Lookups, first: int, began: float, commits: _Times, built: _Times) -> None:
    """Of each lookup, which epoch the simulation says; it is told when servers had each."""
    at, epochs = np.array(lookups.begun) - began, np.array(lookups.epochs) - first + 1
    simulation = Simulation(
        Fleet(built.shape[1], 1, call_work=1e-4, router_work=1e-4, busy=0.0),
        Troubles(stalls_per_second=0, slow_share=0),
        Epochs(EVERY),
        seconds=float(at[-1]),
        options=RouterOptions(timeout=60.0),
        ready=(commits, built),
    )
    outcome = simulation.run(at=at)
    real = np.array([simulation.lag(int(epoch), when) for epoch, when in zip(epochs, at, strict=True)])
    same = np.mean(outcome.epochs == epochs)
    print(f"  {len(commits)} epochs, {len(at)} lookups: the simulation says the same epoch of {same:.1%}")
    for name, lags in (("real", real), ("simulated", outcome.lags)):
        p50, p99 = np.quantile(lags, [0.5, 0.99])
        print(f"  {name}: {np.mean(lags > 0):.1%} behind the newest record, by {p50:.3f} s (p50) and {p99:.3f} s (p99)")
    p50, p99 = np.quantile(lookups.took, [0.5, 0.99]) * 1e3
    print(f"  a lookup took {p50:.2f} ms (p50), {p99:.2f} ms (p99)")


class Stops(threading.Thread):
    """Stops one server after the other for a while; `spans` has begin, end and the server's number."""

    def __init__(self, pids: list[int], end: float) -> None:
        super().__init__()
        self._pids, self._end = pids, end
        self._random = np.random.default_rng(0)
        self.spans: list[tuple[float, float, int]] = []

    def run(self) -> None:
        while time.time() < self._end:
            time.sleep(self._random.uniform(0.5, 1.5) * STOP_EVERY)
            number = int(self._random.integers(len(self._pids)))
            os.kill(self._pids[number], signal.SIGSTOP)
            begin = time.time()
            time.sleep(STOPPED)
            os.kill(self._pids[number], signal.SIGCONT)
            self.spans.append((begin, time.time(), number))


def validate_stalls(shards: int, seconds: float) -> None:
    replicas = 2
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        deployment = EpochDeployment(Path(directory), stack, replicas=(replicas,) * shards, settings={"enable_epochs": False})
        (router,) = stack.enter_context(routers_of(deployment, 1))
        batch, lookups, began = _core.decode_batch(BATCH), Lookups(), time.time()
        stops = Stops([server.process.pid for server in deployment.servers], began + seconds)
        stops.start()
        while time.time() < began + seconds:
            lookups.make(router, batch)
            time.sleep(PAUSE / 2)
        stops.join()
    stalls = np.full((2, len(stops.spans), shards, replicas), -1e9)
    for place, (begin, end, number) in enumerate(stops.spans):
        stalls[:, place, number // replicas, number % replicas] = begin - began, end - began
    at, took = np.array(lookups.begun) - began, np.array(lookups.took)
    fleet = Fleet(shards, replicas, call_work=1e-4, router_work=1e-4, busy=0.0)
    quiet = Troubles(stalls_per_second=0, slow_share=0)
    outcome = Simulation(fleet, quiet, None, seconds=seconds, stalls=stalls).run(at=at, one_caller=True)
    counts = f"{len(stops.spans)} stops of {STOPPED} s, {len(at)} lookups"
    print(f"{shards} shards, 2 replicas, {counts}, load {os.getloadavg()[0]:.0f}")
    for name, times in (("real", took), ("simulated", outcome.latencies)):
        late = times[times > OPTIONS.hedge_after * 0.9]
        longest = f"longest {times.max() * 1e3:.0f} ms"
        print(f"  {name}: {len(late)} lookups waited for another replica, {np.median(late) * 1e3:.0f} ms (median), {longest}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shards", type=int, nargs="*", default=[10, 30, 100, 300, 1000])
    parser.add_argument("--validate", type=int, nargs="*", default=[])
    parser.add_argument("--validate-stalls", type=int, nargs="*", default=[])
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rate", type=float, default=40.0, help="lookups a second of the router")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="scenarios whose names have this")
    options = parser.parse_args()
    model = CostModel(load_points())
    for shards in options.validate:
        validate(model, shards, options.seconds or 10.0)
    for shards in options.validate_stalls:
        validate_stalls(shards, options.seconds or 30.0)
    if options.validate or options.validate_stalls:
        return
    simulate(model, options.shards, options.seconds or 60.0, options.rate, options.seed, options.only)
    limits(model, options.shards)


if __name__ == "__main__":
    main()
