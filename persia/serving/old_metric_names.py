"""Metrics under the names that they had before, for dashboards that ask for these: Persia's names among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

__all__ = ["OldName", "with_old_names"]

_PREFIX = "persia_"
_TOTAL = "_total"


class OldName(NamedTuple):
    """Of a metric, without `persia_` and, of a counter, without `_total`. `is_gauge`: what is a counter now was a gauge."""

    name: str
    is_gauge: bool = False


def with_old_names(registry: CollectorRegistry, job_name: str, old_names: Mapping[str, OldName]) -> CollectorRegistry:
    """One that gives each metric of the other, with the label `job`, and as well under each name that it had.

    old_names: by the name of today, of a counter without `_total`. Each of them was offered with `persia_` and without it.
    """
    both = CollectorRegistry()
    both.register(_WithOldNames(registry, job_name, old_names))
    return both


class _WithOldNames(Collector):
    def __init__(self, registry: CollectorRegistry, job_name: str, old_names: Mapping[str, OldName]) -> None:
        self._registry, self._job_name, self._old_names = registry, job_name, old_names

    def describe(self) -> Iterable[Metric]:
        return []  # collecting may need what is not there yet

    def collect(self) -> Iterable[Metric]:
        aliases = []
        for metric in self._registry.collect():
            metric.samples = [one._replace(labels={"job": self._job_name, **one.labels}) for one in metric.samples]
            yield metric
            old = self._old_names.get(metric.name)
            if old is not None:
                names = {_PREFIX + old.name, old.name} - {metric.name}
                aliases += [_alias(metric, name, old.is_gauge) for name in sorted(names)]
        yield from aliases


def _alias(metric: Metric, name: str, is_gauge: bool) -> Metric:
    alias = Metric(name, f"Another name of {metric.name}.", "gauge" if is_gauge else metric.type)
    for sample in metric.samples:
        suffix = sample.name[len(metric.name) :]
        alias.samples.append(sample._replace(name=name + (suffix.removesuffix(_TOTAL) if is_gauge else suffix)))
    return alias
