"""Prometheus metrics of a shard, on a port of their own.

Totals are read from the shard when somebody asks, so that a lookup pays for little.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from persia import _core
from persia.serving.metrics import FeatureMetrics, SpanMetrics, buckets_of, checkpoint_metrics, errors_of
from persia.serving.old_metric_names import OldName
from persia.v1 import embedding_pb2 as pb

from .shard import LOOKUP_SECONDS, ShardServer
from .updates.delays import Delays

__all__ = ["OLD_NAMES", "Metrics"]

# Of each metric, by its name of today. `inc_...` and `index_miss_...` are Persia's.
OLD_NAMES = {
    "persia_lookup_seconds": OldName("lookup_seconds"),
    "persia_update_delay_seconds": OldName("inc_update_delay_sec"),
    "persia_lookup_errors": OldName("lookup_errors"),
    "persia_lookups": OldName("lookups"),
    "persia_lookup_ids": OldName("lookup_ids"),
    "persia_lookup_wrong_dim": OldName("lookup_wrong_dim"),
    "persia_lookup_absent": OldName("index_miss_count", is_gauge=True),
    "persia_lookup_absent_ratio": OldName("index_miss_ratio"),
    "persia_ready": OldName("ready"),
    "persia_rows": OldName("rows"),
    "persia_table_bytes": OldName("table_bytes"),
    "persia_version": OldName("version"),
    "persia_evicted_rows": OldName("evicted_rows"),
    "persia_packets_applied": OldName("packets_applied"),
    "persia_packets_set_aside": OldName("packets_set_aside"),
    "persia_update_problems": OldName("update_problems"),
}


class Metrics:
    """Has a registry of its own, so that two shards in one process do not meet."""

    def __init__(self, shard: ShardServer, spans: _core.tracing.SpanRing | None = None) -> None:
        """spans: None: nobody wants them."""
        labels = {"replica_index": str(shard.options.index)}
        self.registry = CollectorRegistry()
        self.registry.register(_Totals(shard, labels))
        self.registry.register(FeatureMetrics(shard.lookups.features.totals, labels, cuts=False))
        if spans is not None:
            self.registry.register(SpanMetrics(spans, labels))


class _Totals(Collector):
    def __init__(self, shard: ShardServer, labels: dict[str, str]) -> None:
        self._shard, self._labels = shard, labels

    def collect(self) -> Iterable[Metric]:
        totals, calls, status = self._shard.lookups.totals(), self._shard.lookups.call_totals(), self._shard.status()
        took = buckets_of(LOOKUP_SECONDS, calls.seconds)
        yield self._histogram("persia_lookup_seconds", "Time of a lookup in the server.", took, calls.seconds.seconds)
        yield self._delays()
        yield self._errors(calls.by_code)
        yield self._counter("persia_lookups", "Lookups that were answered.", totals.lookups)
        yield self._counter("persia_lookup_ids", "Signs that were looked up.", totals.signs)
        yield self._counter("persia_lookup_wrong_dim", "Signs whose row has another dim than was asked for.", totals.wrong_dim)
        share = totals.absent / max(totals.signs, 1)
        yield self._counter("persia_lookup_absent", "Signs that had no row.", totals.absent)
        yield self._gauge("persia_lookup_absent_ratio", "Their share of all signs looked up since the start.", share)
        yield self._gauge("persia_ready", "1 when lookups are answered.", float(status.ready))
        yield self._gauge("persia_rows", "Rows in the table.", status.rows)
        yield self._gauge("persia_table_bytes", "Memory of the table.", status.bytes)
        yield self._gauge("persia_version", "Version of the table.", status.version)
        yield self._counter("persia_evicted_rows", "Rows that went because of the capacity.", status.evicted)
        yield self._counter(
            "persia_non_finite_rows", "Rows with NaN or infinite numbers that were loaded or applied.", status.non_finite_rows
        )
        yield self._counter("persia_deleted_rows", "Rows that packets have deleted.", status.deleted_rows)
        yield self._counter("persia_expired_rows", "Rows whose time to live was over.", status.expired_rows)
        yield self._counter(
            "persia_packets_applied", "Update packets that were applied since the start.", status.packets_applied
        )
        yield self._gauge(
            "persia_packets_set_aside", "Update packets that are broken and wait to be mended.", len(status.set_aside)
        )
        yield self._gauge("persia_update_problems", "What hinders the server from following packets.", len(status.problems))
        yield self._counter(
            "persia_unknown_variant_lookups",
            "Lookups that named a variant which the newest epoch did not have.",
            status.unknown_variant_lookups,
        )
        yield from self._epochs(status)
        yield from self._storage()
        if status.checkpoint_id:
            yield from checkpoint_metrics([(self._labels, status.checkpoint_id, status.checkpoint_seconds)])

    def _epochs(self, status: pb.StatusResponse) -> Iterable[Metric]:
        if not status.newest_epoch:
            return
        yield self._gauge("persia_epoch", "The epoch that lookups are answered from.", status.epoch)
        yield self._gauge("persia_epoch_newest", "The newest epoch that is committed.", status.newest_epoch)
        yield self._gauge("persia_epoch_oldest", "The oldest epoch that lookups may still ask for.", status.epoch_low)
        yield self._gauge(
            "persia_epoch_stalled_seconds",
            "For how long the next epoch cannot be built; 0: it can.",
            status.epoch_stalled_seconds,
        )
        yield self._gauge("persia_epoch_retained_bytes", "Memory of what earlier epochs have otherwise.", status.retained_bytes)
        yield self._counter("persia_epochs_given_up", "Earlier epochs that went for want of memory.", status.epochs_given_up)
        yield self._gauge("persia_packets_waiting", "Complete packets that no epoch has.", status.packets_waiting)
        rows = [(one.name, one.rows) for one in status.variants]
        yield self._by_variant("persia_variant_rows", "Rows and deletions that a variant has of its own.", rows)
        sizes = [(one.name, one.bytes) for one in status.variants]
        yield self._by_variant("persia_variant_bytes", "Memory of what a variant has of its own.", sizes)
        lookups = CounterMetricFamily(
            "persia_variant_lookups", "Lookups that were answered, by variant.", labels=["variant", *self._labels]
        )
        for one in status.variants:
            lookups.add_metric([one.name, *self._labels.values()], one.lookups)
        yield lookups

    def _by_variant(self, name: str, text: str, values: Iterable[tuple[str, float]]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["variant", *self._labels])
        for variant, value in values:
            family.add_metric([variant, *self._labels.values()], value)
        return family

    def _storage(self) -> Iterable[Metric]:
        """What stores were asked, which costs money."""
        by_verb, read = self._shard.options.requests.totals()
        if not by_verb:
            return
        requests = CounterMetricFamily(
            "persia_storage_requests", "Requests to stores, by what was asked.", labels=["verb", *self._labels]
        )
        for verb, count in sorted(by_verb.items()):
            requests.add_metric([verb, *self._labels.values()], count)
        yield requests
        yield self._counter("persia_storage_read_bytes", "Bytes that were read from stores.", read)

    def _delays(self) -> Metric:
        updater = self._shard.updater
        delays = Delays() if updater is None else updater.delays
        text = "Seconds from a packet's time to its rows being served."
        return self._histogram("persia_update_delay_seconds", text, delays.buckets(), delays.seconds)

    def _histogram(self, name: str, text: str, buckets: Sequence[tuple[str, float]], seconds: float) -> Metric:
        family = HistogramMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), buckets, seconds)
        return family

    def _errors(self, by_code: Sequence[int]) -> Metric:
        family = CounterMetricFamily(
            "persia_lookup_errors", "Lookups that were refused or failed, by the gRPC status.", labels=["code", *self._labels]
        )
        for name, count in errors_of(by_code):
            family.add_metric([name, *self._labels.values()], count)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family
