"""What the Prometheus metrics of our servers share: histograms, statuses, checkpoints, and the figures of each feature."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from persia import _core
from persia.checkpoint_id import checkpoint_name
from persia.feature_lookup import UNKNOWN, CoreTotals, FeatureLookup, feature_label
from persia.rpc.status import CODE_NAMES

__all__ = ["FeatureMetrics", "SpanMetrics", "buckets_of", "checkpoint_metrics", "errors_of"]


def buckets_of(bounds: Sequence[float], totals: _core.net.HistogramTotals) -> list[tuple[str, float]]:
    """For a HistogramMetricFamily. bounds: those of the histogram."""
    at_most = itertools.accumulate([*totals.within, totals.beyond])
    return [(str(bound), float(count)) for bound, count in zip((*bounds, "+Inf"), at_most, strict=True)]


def errors_of(by_code: Sequence[int]) -> Iterator[tuple[str, int]]:
    """The name of each status but OK that calls have ended with, and how many."""
    for name, count in zip(CODE_NAMES[1:], by_code[1:], strict=True):
        if count:
            yield name, count


class FeatureMetrics(Collector):
    """How the ids of each feature fared, since the start."""

    def __init__(self, totals: Callable[[], Sequence[CoreTotals]], labels: Mapping[str, str], cuts: bool) -> None:
        """labels: beside the feature. cuts: whether what is cut off is known here."""
        self._totals, self._labels, self._cuts = totals, labels, cuts

    def collect(self) -> Iterable[Metric]:
        names = [*self._labels, "feature"]
        ids = CounterMetricFamily("persia_feature_ids", "Ids that were looked up, each once in a lookup.", labels=names)
        new = CounterMetricFamily("persia_feature_new_ids", "Those of them that had no row.", labels=names)
        wrong = CounterMetricFamily("persia_feature_wrong_dim", "Those whose row has another dim.", labels=names)
        cut = CounterMetricFamily("persia_feature_cut_ids", "Ids beyond what a raw slot has room for.", labels=names)
        ratio = GaugeMetricFamily("persia_feature_miss_ratio", "The share of ids that had no row.", labels=names)
        for one in map(FeatureLookup._make, self._totals()):
            if one.name == UNKNOWN and not one.ids:
                continue
            labels = [*self._labels.values(), feature_label(one.name)]
            ids.add_metric(labels, one.ids)
            new.add_metric(labels, one.new_ids)
            wrong.add_metric(labels, one.wrong_dim)
            cut.add_metric(labels, one.cut)
            ratio.add_metric(labels, one.new_ids / max(one.ids, 1))
        return [ids, new, wrong, ratio, *([cut] if self._cuts else [])]


class SpanMetrics(Collector):
    """What becomes of spans, where traces are wanted."""

    def __init__(self, spans: _core.tracing.SpanRing, labels: Mapping[str, str]) -> None:
        self._spans, self._labels = spans, labels

    def collect(self) -> Iterable[Metric]:
        dropped = CounterMetricFamily(
            "persia_spans_dropped", "Spans that came faster than they could be handed over.", labels=[*self._labels]
        )
        dropped.add_metric([*self._labels.values()], self._spans.dropped)
        yield dropped


def checkpoint_metrics(found: Iterable[tuple[Mapping[str, str], int, int]]) -> Iterable[Metric]:
    """The identities and times of checkpoints. found: labels, all of one form, an identity, and the marker's seconds."""
    info = seconds = None
    for labels, identity, when in found:
        if info is None or seconds is None:
            info = GaugeMetricFamily(
                "persia_checkpoint_info", "1 for the checkpoint that the table was loaded from.", labels=[*labels, "checkpoint"]
            )
            seconds = GaugeMetricFamily(
                "persia_checkpoint_timestamp_seconds", "When training wrote that checkpoint.", labels=[*labels]
            )
        info.add_metric([*labels.values(), checkpoint_name(identity)], 1)
        seconds.add_metric([*labels.values()], when)
    return [metric for metric in (info, seconds) if metric is not None]
