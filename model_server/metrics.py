"""What Prometheus is shown: the server's own metrics, those of handlers, and TorchServe's under their names if wanted.

The server's own tell where the time of requests goes, by model and version: in the queue, with the worker, in the handler.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from persia._core.inference import AnswerObserver, Models, ModelVersion

from .handler_metrics import HandlerMetrics
from .metrics_settings import MetricsSettings
from .prometheus_text import Family, Sample, histogram_samples, text_of, torchserve_family
from .system_metrics import SystemMetrics

__all__ = ["ASKED", "FrontFigures", "Metrics", "last_milliseconds"]

# A name, a version, and what the native core has of it.
Served = tuple[str, str, ModelVersion]

ASKED = (  # what Models.asked() has of each
    ("ts_inference_requests_total", "Count"),
    ("ts_inference_latency_microseconds", "Microseconds"),
    ("ts_queue_latency_microseconds", "Microseconds"),
)
LAST_TIMES = {"QueueTime": "last_queue_seconds", "WorkerThreadTime": "last_worker_seconds"}
_OWN = (
    ("whole", "persia_model_request_seconds", "From a request's arrival to its answer."),
    ("queue", "persia_model_queue_seconds", "That requests waited for a worker."),
    ("worker", "persia_model_worker_seconds", "From the hand-over of a request to its worker until the answer."),
)


class FrontFigures(NamedTuple):
    """What the front counts and measures, for whoever looks."""

    models: Models
    served: Callable[[], Iterable[Served]]
    load_seconds: Callable[[], Mapping[str, float]]  # of workers, by the names that TorchServe has for them
    answers: AnswerObserver


class Metrics:
    """Thread safety: any thread may use it."""

    def __init__(self, figures: FrontFigures, handlers: HandlerMetrics, settings: MetricsSettings) -> None:
        """settings: what is shown."""
        self._hostname = socket.gethostname()
        self._figures = figures
        self._handlers = handlers
        self._system = SystemMetrics(self._hostname) if settings.of_system else None
        self._mode = settings.mode
        self._lock = threading.Lock()

    def text(self, names: Collection[str]) -> str:
        """names: of the metrics that are wanted; empty: all of them."""
        with self._lock:
            served = [(name, version, native, native.latencies()) for name, version, native in self._figures.served()]
            families = [self._by_class(), *self._own(served), *self._counts(served)]
            shows_all = self._mode == "prometheus"
            if self._mode != "legacy":
                families += [family._replace(of_torchserve=shows_all) for family in self._handlers.families()]
            if self._system is not None:
                families += self._system.families(shows_all)
            if shows_all:
                families += [*self._of_answers(), *self._last_times(served), self._load_times()]
            if self._mode != "log":
                families += self._asked()
        return text_of(families, names)

    def _by_class(self) -> Family:
        samples = [Sample({"class": kind.lower()}, count) for kind, count in self._figures.answers.counts().items()]
        return Family("persia_model_answers_total", "Answers to callers, by the class of their status.", "counter", samples)

    def _of_answers(self) -> list[Family]:
        labels = {"Level": "Host", "Hostname": self._hostname}
        return [
            torchserve_family(f"Requests{kind}", "counter", "Count", [Sample(labels, count)])
            for kind, count in self._figures.answers.counts().items()
        ]

    def _asked(self) -> list[Family]:
        asked = self._figures.models.asked()
        families = []
        for number, (metric, unit) in enumerate(ASKED):
            samples = [
                Sample({"model_name": name, "model_version": version or "default", "hostname": self._hostname}, totals[number])
                for name, version, *totals in asked
            ]
            families.append(torchserve_family(metric, "counter", unit, samples))
        return families

    def _last_times(self, served: list[Any]) -> list[Family]:
        labels = {"Level": "Host", "Hostname": self._hostname}
        last = last_milliseconds([figures for *_, figures in served])
        return [
            torchserve_family(name, "gauge", "Milliseconds", [Sample(labels, last[name])] if name in last else [])
            for name in LAST_TIMES
        ]

    def _load_times(self) -> Family:
        labels = {"Level": "Host", "Hostname": self._hostname}
        samples = [
            Sample({"WorkerName": name, **labels}, round(1000 * seconds))
            for name, seconds in self._figures.load_seconds().items()
        ]
        return torchserve_family("WorkerLoadTime", "gauge", "Milliseconds", samples)

    def _own(self, served: list[Any]) -> list[Family]:
        bounds = ModelVersion.bounds()
        families = []
        for key, name, words in _OWN:
            samples: list[Sample] = []
            for model, version, _, figures in served:
                totals = figures[key]
                samples += histogram_samples(
                    {"model": model, "version": version}, bounds, [*totals.within, totals.beyond], totals.seconds
                )
            families.append(Family(name, words, "histogram", samples))
        samples = []
        for (model, version), values in self._handlers.handler_seconds().items():
            counts = [int(count) for count in values[1:]]
            samples += histogram_samples({"model": model, "version": version}, bounds, counts, values[0])
        return [*families, Family("persia_model_handler_seconds", "That handlers took for a batch.", "histogram", samples)]

    def _counts(self, served: list[Any]) -> list[Family]:
        counts = [({"model": name, "version": version}, native.counts()) for name, version, native, _ in served]
        wanted = (
            ("queued", "persia_model_queued", "gauge", "Requests that wait for a worker."),
            ("at_work", "persia_model_workers_busy", "gauge", "Workers that have a batch."),
            ("workers", "persia_model_workers", "gauge", "Workers that have loaded the model."),
            ("refused", "persia_model_refused_total", "counter", "Requests for which there was no room or no worker."),
            ("expired", "persia_model_expired_total", "counter", "Requests whose deadline passed in the queue."),
        )
        return [
            Family(name, words, kind, [Sample(labels, count[key]) for labels, count in counts])
            for key, name, kind, words in wanted
        ]


def last_milliseconds(figures: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Of the last request of any version, in the queue and with its worker; empty: there is no version."""
    found = list(figures)
    return {name: max(one[key] for one in found) * 1000 for name, key in LAST_TIMES.items()} if found else {}
