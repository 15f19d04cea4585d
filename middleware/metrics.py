"""Prometheus metrics of a middleware; persia.metrics puts the prefix before the names here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from persia.metrics import FeatureMetrics, checkpoint_metrics, with_prefix
from persia.routing.lookup import Lookup
from persia.routing.router import Router
from persia.rpc import code_name_of
from persia.rpc.timer import Timer

__all__ = ["Metrics"]

SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Has a registry of its own, so that two middlewares in one process do not meet."""

    def __init__(self, router: Router, job_name: str) -> None:
        registry = CollectorRegistry()
        self.registry = with_prefix(registry)
        names = ["job"]
        self._time = Histogram(
            "lookup_total_time_cost_sec", "Time of a lookup in all.", names, buckets=SECONDS, registry=registry
        ).labels(job_name)
        self._rpc_time = Histogram(
            "lookup_rpc_time_cost_sec", "Time of it for asking the shards.", names, buckets=SECONDS, registry=registry
        ).labels(job_name)
        self._absent = Counter("lookup_absent", "Signs without a row.", names, registry=registry).labels(job_name)
        self._wrong_dim = Counter(
            "lookup_wrong_dim", "Signs whose row has another dim than the config.", names, registry=registry
        ).labels(job_name)
        self._without_shard = Counter(
            "lookup_without_shard", "Lookups that were answered without a shard.", names, registry=registry
        ).labels(job_name)
        self._failed = Counter(
            "lookup_errors", "Lookups that were not answered, by their status.", [*names, "code"], registry=registry
        )
        self._job_name = job_name
        registry.register(_Shards(router, job_name))
        registry.register(FeatureMetrics(router.feature_counts.totals, {"job": job_name}, cuts=True))

    def lookup(self) -> Timer[Callable[[Lookup], None]]:
        """Times a lookup and counts how it ends; the caller calls what it gives with the lookup that was made."""
        return Timer(self._record, self._took)

    def _took(self, seconds: float, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self._failed.labels(self._job_name, code_name_of(error)).inc()
        self._time.observe(seconds)

    def _record(self, lookup: Lookup) -> None:
        self._rpc_time.observe(lookup.rpc_seconds)
        if lookup.absent:
            self._absent.inc(lookup.absent)
        if lookup.wrong_dim:
            self._wrong_dim.inc(lookup.wrong_dim)
        if lookup.missing_shards:
            self._without_shard.inc()


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
                if health.checkpoint:
                    labels = {"job": self._job_name, "shard": str(index), "address": replica.address}
                    yield labels, health.checkpoint, health.checkpoint_seconds
