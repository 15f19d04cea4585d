"""Prometheus metrics of a shard, on a port of their own. Persia's names where the meaning is the same.

Totals are read from the shard when somebody asks, so that a lookup pays for one histogram only.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from persia.rpc import code_name_of
from persia.rpc.timer import Timer

from .shard import ShardServer

__all__ = ["Metrics"]

# From what a lookup of a few ids takes to what nobody waits for.
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
FRESHNESS_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """Has a registry of its own, so that two shards in one process do not meet."""

    def __init__(self, shard: ShardServer, job_name: str) -> None:
        labels = {"job": job_name, "replica_index": str(shard.options.index)}
        self.registry = CollectorRegistry()
        self.registry.register(_Totals(shard, labels))
        self._lookup = Histogram(
            "lookup_seconds", "Time of a lookup in the server.", labels, buckets=SECONDS, registry=self.registry
        ).labels(**labels)
        self._errors = Counter(
            "lookup_errors",
            "Lookups that were refused or failed, by the gRPC status.",
            ["code", *labels],
            registry=self.registry,
        )
        self._labels = labels
        freshness = Histogram(
            "inc_update_delay_sec",
            "Seconds from a packet's time to its rows being served.",
            labels,
            buckets=FRESHNESS_SECONDS,
            registry=self.registry,
        ).labels(**labels)
        shard.on_packet = freshness.observe

    def lookup(self) -> Timer[None]:
        """Times a lookup, also one that fails, which is counted."""
        return Timer(None, self._took)

    def _took(self, seconds: float, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self._errors.labels(code=code_name_of(error), **self._labels).inc()
        self._lookup.observe(seconds)


class _Totals(Collector):
    def __init__(self, shard: ShardServer, labels: dict[str, str]) -> None:
        self._shard, self._labels = shard, labels

    def collect(self) -> Iterable[Metric]:
        shard, status = self._shard, self._shard.status()
        yield self._counter("lookups", "Lookups that were answered.", shard.lookups)
        yield self._counter("lookup_ids", "Signs that were looked up.", shard.ids)
        yield self._counter("lookup_wrong_dim", "Signs whose row has another dim than was asked for.", shard.wrong_dim)
        yield self._gauge("index_miss_count", "Signs that had no row, since the start.", shard.absent)
        yield self._gauge("index_miss_ratio", "Their share of all signs looked up.", shard.absent / max(shard.ids, 1))
        yield self._gauge("ready", "1 when lookups are answered.", float(status.ready))
        yield self._gauge("rows", "Rows in the table.", status.rows)
        yield self._gauge("table_bytes", "Memory of the table.", status.bytes)
        yield self._gauge("version", "Version of the table.", status.version)
        yield self._counter("evicted_rows", "Rows that went because of the capacity.", status.evicted)
        yield self._counter("packets_applied", "Update packets that were applied since the start.", status.packets_applied)
        yield self._gauge("packets_set_aside", "Update packets that are broken and wait to be mended.", len(status.set_aside))
        yield self._gauge("update_problems", "What hinders the server from following packets.", len(status.problems))

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family
