"""`persia-launcher plan`: shards, replicas, memory, cores, network and latency for a workload, before anything is bought."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any

import click

from persia.cli.failures import one_line_failures
from persia.cli.option_groups import GroupedCommand, option_group
from persia.planning.model import CostModel
from persia.planning.planner import MOST_MACHINES, Planner
from persia.planning.points import OURS, load_points
from persia.planning.report import as_json, as_text
from persia.planning.trial import try_plan
from persia.planning.workload import GIB, STORAGES, Machines, Workload
from persia.routing.lookup import RouterOptions

__all__ = ["plan"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}


class _Count(click.ParamType[int]):
    """A whole number, in words such as 2000000, 2_000_000, 2M or 1.5G."""

    name = "count"

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Fails for what is no whole number, or out of the range."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?)([KMGBT]?)", value.strip(), re.IGNORECASE | re.ASCII)
        number = float(found[1].replace("_", "").replace(",", "")) * _UNITS[found[2].upper()] if found else math.nan
        if not (self._least <= number <= self._most) or not number.is_integer():
            wanted = f"a whole number from {self._least:,} to {self._most:,}, such as 2000 or 1.5M"
            self.fail(f"expected {wanted}, got {value!r}", param, ctx)
        return int(number)


class _Number(click.ParamType[float]):
    """A number in a range, and never nan."""

    name = "number"

    def __init__(self, least: float, most: float, *, above: bool = False) -> None:
        """above: the least one does not belong to it."""
        self._least, self._most, self._above = least, most, above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Fails for what is none."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (self._least <= number <= self._most) or (self._above and number == self._least):
            begin = "above" if self._above else "from"
            self.fail(f"expected a number {begin} {self._least:g} to {self._most:g}, got {value!r}", param, ctx)
        return number


_WORKLOAD = option_group(
    "workload",
    Workload,
    "Workload",
    rows={"required": True, "type": _Count(1, 10**15), "help": "Of all tables together: 2000000, 2M or 1.5G."},
    dim={"required": True, "type": _Count(1, 65_535), "help": "Numbers of a row. With several, the mean over the ids."},
    qps={"required": True, "type": _Number(0, 1e9, above=True), "help": "Lookups a second, over all."},
    batch={"required": True, "type": _Count(1, 65_535), "help": "Samples of a lookup."},
    features={"default": 26, "type": _Count(1, 100_000), "help": "Features of a sample."},
    ids={"default": 1.0, "type": _Number(0, 1e6, above=True), "help": "Ids of a feature and sample, on average."},
    distinct={
        "default": 1.0,
        "type": _Number(0, 1, above=True),
        "help": "Which share of a feature's ids in a lookup are different ones.",
    },
    storage={"default": "f32", "type": click.Choice(STORAGES), "help": "As row_storage."},
    growth={"default": 0.0, "type": _Number(0, 1e6), "help": "Rows that may come, as a share of those there are."},
    epochs={"default": 0, "type": _Count(0, 1000), "help": "As retained_epochs; 0: servers follow no epochs."},
    changed={"default": 0, "type": _Count(0, 10**15), "help": "Rows that an epoch changes, of all tables together."},
    skew={"default": 1.2, "type": _Number(1, 1e6), "help": "What the busiest shard has to do, in multiples of the mean."},
    handlers={"default": 0, "type": _Count(0, 10**6), "help": "Processes that ask the servers themselves; 0: middlewares do."},
)


def _gibibytes(context: click.Context, parameter: click.Parameter, value: float) -> float:
    return value * GIB


def _gigabits(context: click.Context, parameter: click.Parameter, value: float) -> float:
    return value * 1e9


def _milliseconds(context: click.Context, parameter: click.Parameter, value: float) -> float:
    return value / 1e3


_SHARE = _Number(0, 1, above=True)
_MACHINES = option_group(
    "machines",
    Machines,
    "Machines",
    count={"flag": "--machines", "required": True, "type": _Count(1, MOST_MACHINES), "help": "How many there are."},
    cores={"default": 16.0, "type": _Number(0, 10_000, above=True), "help": "Of each."},
    memory={"default": 64.0, "type": _Number(0, 1e6, above=True), "callback": _gibibytes, "help": "GiB of each."},
    network={"default": 10.0, "type": _Number(0, 1e5, above=True), "callback": _gigabits, "help": "Gbit/s of each, each way."},
    replicas={"default": 2, "type": _Count(1, 1000), "help": "Servers of each shard, at least."},
    round_trip={
        "default": 0.1,
        "type": _Number(0, 1e6),
        "callback": _milliseconds,
        "help": "Milliseconds from machine to machine and back.",
    },
    most_busy={
        "default": 0.6,
        "type": _SHARE,
        "help": "Share of cores and network in use, also with one machine lost.",
    },
    most_memory={"default": 0.8, "type": _SHARE, "help": "Share of the memory that a server may have."},
)


@click.command(cls=GroupedCommand, context_settings={"show_default": True})
@_WORKLOAD
@_MACHINES
@click.option("--points", "points_file", default=str(OURS), show_default="ours", help="Measured points of your own machine.")
@click.option(
    "--hedge-after",
    default=RouterOptions().hedge_after * 1e3,
    type=_Number(0, 1e6, above=True),
    help="Milliseconds, as hedge_after_ms.",
)
@click.option(
    "--simulate",
    default=0.0,
    type=_Number(0, 3600),
    help="Seconds for which the plan is simulated, with stalls, slow machines and losses; 0: it is not.",
)
@click.option("--json", "is_json", is_flag=True, help="Prints the plan as JSON.")
def plan(workload: Workload, machines: Machines, points_file: str, hedge_after: float, simulate: float, is_json: bool) -> None:
    """Says how many shards, replicas and machines a workload needs, and what to expect of them.

    The figures come from a model that is fitted to measured points; how far off it is at points that it was not fitted to is
    printed beside them. Exits with 1 where no layout on these machines does: then it says what binds, and what would help.
    """
    if workload.changed and not workload.epochs:
        raise click.UsageError("--changed says how many rows an epoch changes: give --epochs, too")
    with one_line_failures():
        options = RouterOptions(hedge_after=hedge_after / 1e3)
        planner = Planner(CostModel(load_points(points_file)), workload, machines, options)
    found = planner.plan()
    trial = try_plan(planner, found, simulate) if simulate and found is not None else None
    click.echo(json.dumps(as_json(planner, found, trial), indent=2) if is_json else as_text(planner, found, trial))
    sys.exit(0 if found is not None else 1)
