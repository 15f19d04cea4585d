"""Metrics that handlers update: as TorchServe writes an update into a line, and many of them put together."""

from __future__ import annotations

import bisect
import json
import re
import socket
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["BOUNDS", "Aggregate", "MetricKey", "Update", "line_of", "update_of_line"]

# Of histograms of handlers, in whatever unit: those of TorchServe's Prometheus client.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

_LINE = re.compile(
    r"\[METRICS\](?P<name>[^:|]+)\.(?P<unit>[^.:|]+):(?P<value>[^|]+)\|#(?P<dimensions>[^|]*)\|"
    r"(?:#type:(?P<kind>\w+)\|)?#hostname:[^,|]+,\d+(?:,.*)?$"
)
_KINDS = frozenset(["counter", "gauge", "histogram"])


class MetricKey(NamedTuple):
    """`kind`: counter, gauge or histogram. `dimensions`: names and values."""

    name: str
    unit: str
    kind: str
    dimensions: tuple[tuple[str, str], ...]


class Update(NamedTuple):
    """One update of a metric."""

    key: MetricKey
    value: float


def update_of_line(line: str) -> Update | None:
    """What a line says, such as `[METRICS]Size.Count:3|#Level:Model|#type:COUNTER|#hostname:h,1700000000`; None: it is none."""
    matched = _LINE.match(line)
    if matched is None:
        return None
    kind = (matched["kind"] or "counter").lower()
    try:
        value = float(matched["value"])
    except ValueError:
        return None
    if kind not in _KINDS:
        return None
    pairs = (part.partition(":") for part in matched["dimensions"].split(",") if part)
    dimensions = tuple((name, text) for name, _, text in pairs)
    return Update(MetricKey(matched["name"], matched["unit"], kind, dimensions), value)


def line_of(key: MetricKey, value: float | Sequence[float]) -> str:
    """As TorchServe's file of metrics has it; of a histogram, the sum."""
    dimensions = ",".join(f"{name}:{text}" for name, text in key.dimensions)
    shown = value if isinstance(value, (int, float)) else value[0]
    return f"{key.name}.{key.unit}:{shown}|#{dimensions}|#hostname:{socket.gethostname()},timestamp:{int(time.time())}"


class Aggregate:
    """Updates put together: counters are summed up, of gauges the last one counts, of histograms the counts and the sum.

    Values of histograms are a list: the sum, and how many are within each bound and beyond. For one thread.
    """

    def __init__(self) -> None:
        self.values: dict[MetricKey, float | list[float]] = {}

    def add(self, key: MetricKey, value: float, bounds: Sequence[float] = BOUNDS) -> None:
        """One update. bounds: of a histogram."""
        if key.kind == "gauge":
            self.values[key] = value
            return
        if key.kind == "counter":
            before = self.values.get(key, 0.0)
            assert isinstance(before, float)
            self.values[key] = before + value
            return
        counts = self.values.setdefault(key, [0.0] * (len(bounds) + 2))
        assert isinstance(counts, list)
        counts[0] += value
        counts[1 + bisect.bisect_left(bounds, value)] += 1

    def merge(self, items: Iterable[tuple[MetricKey, float | list[float]]]) -> None:
        """What another one has put together."""
        for key, value in items:
            before = self.values.get(key)
            if key.kind == "gauge" or before is None:
                self.values[key] = value
            elif isinstance(before, list) and isinstance(value, list):
                self.values[key] = [one + other for one, other in zip(before, value, strict=True)]
            elif not isinstance(before, list) and not isinstance(value, list):
                self.values[key] = before + value

    def take_line(self) -> bytes:
        """All of it as a line of JSON; nothing stays."""
        line = json.dumps([[*key, value] for key, value in self.values.items()])
        self.values = {}
        return line.encode() + b"\n"

    @staticmethod
    def items_of_line(line: bytes) -> list[tuple[MetricKey, float | list[float]]]:
        """What take_line() wrote. Raises ValueError."""
        return [
            (MetricKey(name, unit, kind, tuple((key, text) for key, text in dimensions)), value)
            for name, unit, kind, dimensions, value in json.loads(line)
        ]
