"""From a workload and machines to shards and replicas, or to what stands in the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from persia.planning.latency import Station, lookup_quantiles
from persia.planning.model import CostModel
from persia.planning.points import Through
from persia.planning.shape import Shape
from persia.planning.workload import Machines, Workload
from persia.routing.lookup import RouterOptions

__all__ = ["MOST_MACHINES", "Demand", "Layout", "Plan", "Planner"]

MOST_MACHINES = 10_000
# A reference from a table's index to a row of one dim has 32 bits (native/table/index.hpp).
MOST_ROWS_OF_SHARD = 2**32
# Bytes that Ethernet, IP and TCP put round a packet's 1448 of ours, and HTTP/2 round its frames of 16 KiB.
_ON_THE_WIRE = 1 + 78 / 1448 + 9 / 16384
# The share of what a machine may have to do up to which more middlewares are no gain.
_EASY = 0.5


@dataclass(frozen=True)
class Layout:
    """A server of a shard on each machine."""

    shards: int
    replicas: int

    @property
    def machines(self) -> int:
        return self.shards * self.replicas


@dataclass(frozen=True)
class Demand:
    """What the busiest machine of a layout has to bear, each as a share of what it may: above 1 is too much."""

    memory: float
    rows: float  # of what one shard can address
    cores: float
    network: float

    @property
    def binding(self) -> list[str]:
        return [name for name, share in vars(self).items() if share > 1]

    @property
    def most(self) -> float:
        return max(self.memory, self.rows, self.cores, self.network)


@dataclass(frozen=True)
class Plan:
    """A layout that fits, and what is expected of it."""

    layout: Layout
    demand: Demand
    middlewares: int  # 0: handlers ask the servers
    server_bytes: float  # memory of each server
    cores_busy: float  # share of a machine's cores, while all are there
    cores_busy_with_a_loss: float
    server_seconds: float  # of processors for a lookup, in all servers
    router_seconds: float
    network_bits: float  # a second, of the busiest machine, in the direction of more
    lookup_bytes: float  # between who asks and the servers
    asked: float  # shards of a lookup
    ways: float  # seconds of a lookup in which nothing works: messages under way, and waking up
    latency: dict[str, float]  # seconds


class Planner:
    """For one workload on machines of one kind."""

    def __init__(self, model: CostModel, workload: Workload, machines: Machines, options: RouterOptions | None = None) -> None:
        self.model, self.workload, self.machines = model, workload, machines
        self.options = options or RouterOptions()
        self._through: Through = "handlers" if workload.handlers else "middleware"
        self._costs: dict[int, tuple[Shape, float, float]] = {}

    def plan(self) -> Plan | None:
        """The layout of the fewest machines; of those, the one of the fewest shards. None: there is none that fits."""
        layout = self._smallest(self.machines.count)
        return None if layout is None else self._describe(layout)

    def machines_needed(self) -> int | None:
        """However many there are. None: more than MOST_MACHINES."""
        layout = self._smallest(MOST_MACHINES)
        return None if layout is None else layout.machines

    def nearest(self) -> tuple[Layout, Demand] | None:
        """Where no layout fits: the one that asks the least too much. None: there are fewer machines than replicas."""
        tried = [(layout, self.demand(layout)) for layout in self._layouts(self.machines.count, 1)]
        return min(tried, key=lambda one: one[1].most, default=None)

    @cached_property
    def least_shards(self) -> int:
        """That the memory of a machine wants, whatever else."""
        room = self.machines.memory * self.machines.most_memory - self.model.points.process_bytes
        if room <= 0:
            return MOST_MACHINES + 1
        table = self._table_bytes(1)
        by_memory = table / room
        return max(1, math.ceil(by_memory), math.ceil(self.workload.rows_later / MOST_ROWS_OF_SHARD))

    def server_bytes(self, shards: int) -> float:
        """Memory of a server: process, rows, and earlier epochs."""
        return self.model.points.process_bytes + self._table_bytes(shards)

    def demand(self, layout: Layout) -> Demand:
        """All limits hold while one machine is lost, if a shard has several replicas."""
        return self._demand(layout, self._middlewares(layout))

    def _table_bytes(self, shards: int) -> float:
        workload = self.workload
        row = self.model.row_bytes(workload.storage, workload.dim)
        changed = min(workload.changed, workload.rows_later)
        earlier = workload.epochs * changed * self.model.changed_row_bytes(workload.storage, workload.dim)
        return (workload.rows_later * row + earlier) / shards

    def _layouts(self, most: int, least_shards: int) -> Iterator[Layout]:
        """That have no more machines than that."""
        for replicas in range(self.machines.replicas, most // least_shards + 1):
            for shards in range(least_shards, most // replicas + 1):
                yield Layout(shards, replicas)

    def _smallest(self, most: int) -> Layout | None:
        best: Layout | None = None
        replicas = self.machines.replicas
        while replicas * self.least_shards <= most:
            for shards in range(self.least_shards, most // replicas + 1):
                if self._fits(Layout(shards, replicas)):
                    best = Layout(shards, replicas)
                    most = best.machines  # one that has as many machines and fewer shards is better
                    break
            replicas += 1
        return best

    def _fits(self, layout: Layout) -> bool:
        """Without middlewares first: what does not fit so needs no search for their number."""
        return self._demand(layout, 0).most <= 1 and self.demand(layout).most <= 1

    def _cost(self, shards: int) -> tuple[Shape, float, float]:
        """Of a lookup: its shape, and seconds of servers and of who asks them."""
        if shards not in self._costs:
            shape = Shape.of(self.workload, shards)
            self._costs[shards] = shape, self.model.shard_seconds(shape), self.model.router_seconds(shape, self._through)
        return self._costs[shards]

    def _demand(self, layout: Layout, middlewares: int) -> Demand:
        machines, has_spare = self.machines, layout.replicas > 1
        return Demand(
            memory=self.server_bytes(layout.shards) / (machines.memory * machines.most_memory),
            rows=self.workload.rows_later / layout.shards / MOST_ROWS_OF_SHARD,
            cores=self._busy(layout, middlewares, has_spare) / machines.most_busy,
            network=self._bits(layout, middlewares, has_spare) / (machines.network * machines.most_busy),
        )

    def _middlewares(self, layout: Layout) -> int:
        """So many that the busiest machine has the least to do: few have much to do each, and many ask each server how it is.

        What the machine has to do falls with their number and then rises, or only falls.
        """
        if self.workload.handlers:
            return 0
        low, high = min(2 if layout.replicas > 1 else 1, layout.machines), layout.machines
        while low < high:
            middle = (low + high) // 2
            if self._moved(layout, middle) <= self._moved(layout, middle + 1):
                high = middle
            else:
                low = middle + 1
        return low

    def _fewest_middlewares(self, layout: Layout) -> int:
        """With which no machine has more to do than half of what it may, or than it has to."""
        low, high = min(2 if layout.replicas > 1 else 1, layout.machines), self._middlewares(layout)
        enough = max(_EASY, self._moved(layout, high))
        while low < high:
            middle = (low + high) // 2
            if self._moved(layout, middle) <= enough:
                high = middle
            else:
                low = middle + 1
        return high

    def _moved(self, layout: Layout, middlewares: int) -> float:
        """What depends on their number."""
        demand = self._demand(layout, middlewares)
        return max(demand.cores, demand.network)

    def _busy(self, layout: Layout, middlewares: int, with_a_loss: bool) -> float:
        """The share of the busiest machine's cores."""
        _, server, router = self._cost(layout.shards)
        points, workload = self.model.points, self.workload
        lost = 1 if with_a_loss else 0
        probes = 1 / (self.options.watch.epochs if workload.epochs else self.options.watch.well)
        load = workload.qps * server * workload.skew / (layout.shards * max(1, layout.replicas - lost))
        load += (middlewares or workload.handlers) * probes * points.probe_server_seconds
        if middlewares:
            load += workload.qps * router / max(1, middlewares - lost) + layout.machines * probes * points.probe_router_seconds
        return load / self.machines.cores

    def _bits(self, layout: Layout, middlewares: int, with_a_loss: bool) -> float:
        """A second, on the busiest machine, in the direction of more."""
        shape, _, _ = self._cost(layout.shards)
        workload, lost = self.workload, 1 if with_a_loss else 0
        server = max(shape.answer_bytes, shape.request_bytes) * workload.skew
        load = server / (layout.shards * max(1, layout.replicas - lost))
        if middlewares:
            ids, tensors = shape.forward_bytes
            load += max(shape.request_bytes + tensors, shape.answer_bytes + ids) / max(1, middlewares - lost)
        return workload.qps * load * 8 * _ON_THE_WIRE

    def _describe(self, layout: Layout) -> Plan:
        shape, server, router = self._cost(layout.shards)
        middlewares = self._fewest_middlewares(layout)
        busy = self._busy(layout, middlewares, with_a_loss=False)
        return Plan(
            layout=layout,
            demand=self._demand(layout, middlewares),
            middlewares=middlewares,
            server_bytes=self.server_bytes(layout.shards),
            cores_busy=busy,
            cores_busy_with_a_loss=self._busy(layout, middlewares, with_a_loss=layout.replicas > 1),
            server_seconds=server,
            router_seconds=router,
            network_bits=self._bits(layout, middlewares, with_a_loss=False),
            lookup_bytes=shape.request_bytes + shape.answer_bytes,
            asked=shape.asked,
            ways=self._ways(shape),
            latency=self._latency(layout, busy),
        )

    def _ways(self, shape: Shape) -> float:
        ids, tensors = (0.0, 0.0) if self.workload.handlers else shape.forward_bytes
        moved = (shape.answer_bytes + shape.request_bytes + ids + tensors) * 8 * _ON_THE_WIRE / self.machines.network
        trips = 1 if self.workload.handlers else 2
        return self.model.hop_seconds[self._through] + moved + self.machines.round_trip * trips

    def _latency(self, layout: Layout, busy: float) -> dict[str, float]:
        shape, server, router = self._cost(layout.shards)
        cores = max(1.0, self.machines.cores)
        shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
        found = lookup_quantiles(
            Station(cores, busy, server * self.workload.skew / shape.asked),
            Station(cores, 0.0 if self.workload.handlers else busy, router),
            shape.asked,
            self.model.pauses,
            ways=self._ways(shape),
            hedge_after=self.options.hedge_after if layout.replicas > 1 else None,
            shares=list(shares.values()),
        )
        return dict(zip(shares, found, strict=True))


def with_other(planner: Planner, *, machines: dict[str, float] | None = None, **workload: object) -> Planner:
    """The same planner, but for these fields."""
    return Planner(
        planner.model,
        replace(planner.workload, **workload),  # type: ignore[arg-type]
        replace(planner.machines, **(machines or {})),  # type: ignore[arg-type]
        planner.options,
    )
