"""Prometheus metrics of a middleware. What is counted of its own lookups begins with `persia_forward`, as its method does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from persia import _core
from persia.routing.router import Router
from persia.serving.metrics import FeatureMetrics, SpanMetrics, buckets_of, checkpoint_metrics, errors_of
from persia.serving.old_metric_names import OldName
from persia.variant import OTHERS

from .service import SECONDS

__all__ = ["OLD_NAMES", "SECONDS", "Metrics"]

# Of each metric, by its name of today. `lookup_..._time_cost_sec` are Persia's.
OLD_NAMES = {
    "persia_forward_seconds": OldName("lookup_total_time_cost_sec"),
    "persia_forward_shards_seconds": OldName("lookup_rpc_time_cost_sec"),
    "persia_forward_absent": OldName("lookup_absent"),
    "persia_forward_wrong_dim": OldName("lookup_wrong_dim"),
    "persia_forward_without_shard": OldName("lookup_without_shard"),
    "persia_forward_errors": OldName("lookup_errors"),
    "persia_shard_replica_usable": OldName("shard_replica_usable"),
    "persia_shard_replica_version": OldName("shard_replica_version"),
}


class Metrics:
    """Has a registry of its own, so that two middlewares in one process do not meet."""

    def __init__(self, router: Router, counts: _core.net.ForwardCounts, spans: _core.tracing.SpanRing | None = None) -> None:
        """counts: with the bounds SECONDS. spans: None: nobody wants them."""
        self.registry = CollectorRegistry()
        self.registry.register(_Lookups(counts, router))
        self.registry.register(_Shards(router))
        self.registry.register(FeatureMetrics(lambda: router.native.feature_counts.totals(), {}, cuts=True))
        if spans is not None:
            self.registry.register(SpanMetrics(spans, {}))


class _Lookups(Collector):
    """What the native core counts."""

    def __init__(self, counts: _core.net.ForwardCounts, router: Router) -> None:
        self._counts, self._router = counts, router

    def collect(self) -> Iterable[Metric]:
        totals, calls = self._counts.totals(), self._counts.call_totals()
        yield _histogram("persia_forward_seconds", "Time of a lookup in all.", calls.seconds)
        yield _histogram("persia_forward_shards_seconds", "Time of it for asking the shards.", totals.asking)
        yield CounterMetricFamily("persia_forward_absent", "Signs without a row.", totals.absent)
        yield CounterMetricFamily(
            "persia_forward_wrong_dim", "Signs whose row has another dim than the config.", totals.wrong_dim
        )
        yield CounterMetricFamily(
            "persia_forward_without_shard", "Lookups that were answered without a shard.", totals.without_shard
        )
        errors = CounterMetricFamily(
            "persia_forward_errors", "Lookups that were not answered, by their status.", labels=["code"]
        )
        for name, count in errors_of(calls.by_code):
            errors.add_metric([name], count)
        yield errors
        yield self._variants()

    def _variants(self) -> Metric:
        """By names that a server has said: what callers make up is in no label."""
        lookups: Counter[str] = Counter()
        for key, count in self._counts.variant_totals().items():
            lookups[self._router.variant_names.get(key, OTHERS)] += count
        family = CounterMetricFamily(
            "persia_forward_variant_lookups", "Lookups that were answered, by variant.", labels=["variant"]
        )
        for name, count in sorted(lookups.items()):
            family.add_metric([name], count)
        return family


def _histogram(name: str, text: str, totals: _core.net.HistogramTotals) -> Metric:
    return HistogramMetricFamily(name, text, buckets=buckets_of(SECONDS, totals), sum_value=totals.seconds)


class _Shards(Collector):
    """What the router knows of its shards when somebody asks."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def collect(self) -> Iterable[Metric]:
        names = ["shard", "address"]
        usable = GaugeMetricFamily("persia_shard_replica_usable", "1 where lookups go.", labels=names)
        version = GaugeMetricFamily("persia_shard_replica_version", "Version of the replica's table.", labels=names)
        for index, shard in enumerate(self._router.shards):
            for replica in shard.replicas:
                labels = [str(index), replica.address]
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
                    labels = {"shard": str(index), "address": replica.address}
                    yield labels, health.checkpoint_id, health.checkpoint_seconds
