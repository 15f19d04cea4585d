"""Prometheus metrics of a state directory: gauges, computed from the windows when somebody asks for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from persia.errors import NotFound, PersiaError

from .numbers import Numbers
from .overview import Asked, Watched, overview

__all__ = ["DriftMetrics", "MetricsServer", "serve_metrics"]

log = logging.getLogger(__name__)

_MODEL = ["model", "version"]
_QUANTILES = (0.05, 0.5, 0.95)
# The windows of a scrape are good for another one that comes at once.
_KEPT_SECONDS = 5.0


class DriftMetrics(Collector):
    """Labels are models, versions, features and signals; never ids."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._lock = threading.Lock()
        self._found: list[Watched] = []
        self._until = 0.0

    def describe(self) -> Iterable[Metric]:
        return []  # collecting may need what is not there yet

    def collect(self) -> Iterable[Metric]:
        value = GaugeMetricFamily("persia_drift_value", "Of the last window.", labels=[*_MODEL, "what", "signal"])
        limit = GaugeMetricFamily("persia_drift_limit", "Beyond which a value is drift.", labels=[*_MODEL, "what", "signal"])
        state = GaugeMetricFamily("persia_drift_state", "0 ok, 1 warn, 2 drift, 3 too few.", labels=[*_MODEL, "what", "signal"])
        whole = GaugeMetricFamily("persia_drift_model_state", "The worst of its signals.", labels=_MODEL)
        samples = GaugeMetricFamily("persia_drift_window_samples", "Sketched in the last window.", labels=_MODEL)
        seen = GaugeMetricFamily("persia_drift_window_seen_samples", "That came in the last window.", labels=_MODEL)
        dropped = GaugeMetricFamily("persia_drift_window_dropped_batches", "For want of room in a queue.", labels=_MODEL)
        end = GaugeMetricFamily("persia_drift_window_end_timestamp_seconds", "When the last window ended.", labels=_MODEL)
        broken = GaugeMetricFamily("persia_drift_unreadable_files", "In the state directory.", labels=_MODEL)
        quantile = GaugeMetricFamily("persia_drift_score_quantile", "Of the last window.", labels=[*_MODEL, "what", "quantile"])
        for each in self._watched():
            labels = [each.model, each.version]
            whole.add_metric(labels, each.state)
            broken.add_metric(labels, len(each.problems))
            if each.windows:
                last = each.windows[-1]
                samples.add_metric(labels, last.samples)
                seen.add_metric(labels, last.seen)
                dropped.add_metric(labels, last.dropped)
                end.add_metric(labels, last.end)
                for (subject, signal), sketch in last.sketches.items():
                    if signal == "scores" and isinstance(sketch, Numbers) and sketch.count:
                        for rank, score in zip(_QUANTILES, sketch.quantiles(_QUANTILES), strict=True):
                            quantile.add_metric([*labels, subject, str(rank)], score)
            for key, readings in (each.verdict.history if each.verdict is not None else {}).items():
                state.add_metric([*labels, *key], readings[-1].state)
                limit.add_metric([*labels, *key], readings[-1].limit)
                if readings[-1].value is not None:
                    value.add_metric([*labels, *key], readings[-1].value)
        return [value, limit, state, whole, samples, seen, dropped, end, broken, quantile]

    def _watched(self) -> list[Watched]:
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._found = overview(self._asked)
                except NotFound:
                    self._found = []  # nothing yet
                except (PersiaError, OSError) as error:
                    log.error("the state directory cannot be read: %s", error)
                    self._found = []
                self._until = time.monotonic() + _KEPT_SECONDS
            return self._found


class MetricsServer:
    """Answers until it is closed."""

    def __init__(self, asked: Asked, port: int, host: str) -> None:
        """port: 0 takes a free one. Raises OSError."""
        registry = CollectorRegistry()
        registry.register(DriftMetrics(asked))
        self._server, self._thread = start_http_server(port, host, registry)
        self.port = int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_metrics(asked: Asked, port: int, host: str = "127.0.0.1") -> MetricsServer:
    """Raises OSError if the port is taken, or the host is none of this machine."""
    return MetricsServer(asked, port, host)
