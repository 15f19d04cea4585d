"""Prometheus metrics of a middleware; persia.serving.metrics puts the prefix before the names here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from persia import _core
from persia.routing.router import Router
from persia.serving.metrics import FeatureMetrics, buckets_of, checkpoint_metrics, errors_of, with_prefix

__all__ = ["SECONDS", "Metrics"]

SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Has a registry of its own, so that two middlewares in one process do not meet."""

    def __init__(self, router: Router, counts: _core.net.ForwardCounts, job_name: str) -> None:
        """counts: with the bounds SECONDS."""
        registry = CollectorRegistry()
        self.registry = with_prefix(registry)
        registry.register(_Lookups(counts, job_name))
        registry.register(_Shards(router, job_name))
        registry.register(FeatureMetrics(lambda: router.native.feature_counts.totals(), {"job": job_name}, cuts=True))


class _Lookups(Collector):
    """What the native core counts."""

    def __init__(self, counts: _core.net.ForwardCounts, job_name: str) -> None:
        self._counts, self._job_name = counts, job_name

    def collect(self) -> Iterable[Metric]:
        totals, calls = self._counts.totals(), self._counts.call_totals()
        yield self._histogram("lookup_total_time_cost_sec", "Time of a lookup in all.", calls.seconds)
        yield self._histogram("lookup_rpc_time_cost_sec", "Time of it for asking the shards.", totals.asking)
        yield self._counter("lookup_absent", "Signs without a row.", totals.absent)
        yield self._counter("lookup_wrong_dim", "Signs whose row has another dim than the config.", totals.wrong_dim)
        yield self._counter("lookup_without_shard", "Lookups that were answered without a shard.", totals.without_shard)
        errors = CounterMetricFamily(
            "lookup_errors", "Lookups that were not answered, by their status.", labels=["job", "code"]
        )
        for name, count in errors_of(calls.by_code):
            errors.add_metric([self._job_name, name], count)
        yield errors

    def _histogram(self, name: str, text: str, totals: _core.net.HistogramTotals) -> Metric:
        family = HistogramMetricFamily(name, text, labels=["job"])
        family.add_metric([self._job_name], buckets_of(SECONDS, totals), totals.seconds)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(name, text, labels=["job"])
        family.add_metric([self._job_name], value)
        return family


class _Shards(Collector):
    """What the router knows of its shards when somebody asks."""

    def __init__(self, router: Router, job_name: str) -> None:
        self._router, self._job_name = router, job_name

    def collect(self) -> Iterable[Metric]:
        names = ["job", "shard", "address"]
        usable = GaugeMetricFamily("shard_replica_usable", "1 where lookups go.", labels=names)
        version = GaugeMetricFamily("shard_replica_version", "Version of the replica's table.", labels=names)
        for index, shard in enumerate(self._router.shards):
            for replica in shard.replicas:
                labels = [self._job_name, str(index), replica.address]
                usable.add_metric(labels, float(replica.usable))
                version.add_metric(labels, replica.health.version)
        yield usable
        yield version
        yield from checkpoint_metrics(self._checkpoints())

    def _checkpoints(self) -> Iterator[tuple[dict[str, str], int, int]]:
        for index, shard in enumerate(self._router.shards):
            for replica in shard.replicas:
                health = replica.health
                if health.checkpoint_id:
                    labels = {"job": self._job_name, "shard": str(index), "address": replica.address}
                    yield labels, health.checkpoint_id, health.checkpoint_seconds
