"""The server's own metrics in TorchServe's `ts_metrics.log`: what was counted since the last look, and at times the machine.

TorchServe writes some lines for each request; here those of a moment are one line each.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

from .metric_updates import MetricKey, line_of
from .metrics import ASKED, FrontFigures, last_milliseconds
from .metrics_settings import MetricsSettings
from .system_metrics import SystemMetrics

__all__ = ["FrontMetricsLog"]

lines = logging.getLogger("ts_metrics")

_LOOK_SECONDS = 0.25
_OF_HOST = (("Level", "Host"),)


class FrontMetricsLog:
    """start() and close() once each; a thread looks meanwhile, unless the mode or the log wants no lines."""

    def __init__(self, figures: FrontFigures, settings: MetricsSettings) -> None:
        self._figures = figures
        self._settings = settings
        self._system = SystemMetrics("") if settings.of_system else None
        self._system_time = 0.0  # of the next look at the machine
        self._before: dict[MetricKey, float] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="front-metrics", daemon=True)

    def start(self) -> None:
        """Looks from now on."""
        if self._settings.mode != "prometheus" and lines.isEnabledFor(logging.INFO):
            self._thread.start()

    def close(self) -> None:
        """What was counted by now is still written."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
            self.look()

    def look(self) -> None:
        """Writes what has come since it was called before."""
        for key, value in self._counted():
            rise = value - self._before.get(key, 0.0)
            if rise > 0:
                lines.info("%s", line_of(key, rise))
            self._before[key] = value
        for key, value in self._measured():
            if self._before.get(key) != value:
                lines.info("%s", line_of(key, value))
            self._before[key] = value
        if self._system is not None and time.monotonic() >= self._system_time:
            self._system_time = time.monotonic() + self._settings.interval
            for name, unit, value in self._system.figures():
                lines.info("%s", line_of(MetricKey(name, unit, "gauge", _OF_HOST), value))

    def _counted(self) -> Iterator[tuple[MetricKey, float]]:
        for kind, count in self._figures.answers.counts().items():
            yield MetricKey(f"Requests{kind}", "Count", "counter", _OF_HOST), count
        if self._settings.mode == "legacy":  # there they are on the page
            return
        for name, version, *totals in self._figures.models.asked():
            of_model = (("model_name", name), ("model_version", version or "default"))
            for (metric, unit), total in zip(ASKED, totals, strict=True):
                yield MetricKey(metric, unit, "counter", of_model), total

    def _measured(self) -> Iterator[tuple[MetricKey, float]]:
        for name, value in last_milliseconds([native.latencies() for *_, native in self._figures.served()]).items():
            yield MetricKey(name, "Milliseconds", "gauge", _OF_HOST), value
        for worker, seconds in self._figures.load_seconds().items():
            yield (
                MetricKey("WorkerLoadTime", "Milliseconds", "gauge", (("WorkerName", worker), *_OF_HOST)),
                float(round(1000 * seconds)),
            )

    def _run(self) -> None:
        self.look()
        while not self._closed.wait(_LOOK_SECONDS):
            self.look()
