"""The metrics of handlers, of all workers together, as a metrics.yaml names them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from persia.errors import ConfigError

from .metric_updates import BOUNDS, Aggregate, MetricKey
from .prometheus_text import Family, Sample, histogram_samples
from .worker_metrics import HANDLER_SECONDS

__all__ = ["HandlerMetrics", "read_names"]

log = logging.getLogger(__name__)

# TorchServe's own, which its handlers update.
OWN_NAMES = frozenset(["HandlerTime", "PredictionTime"])


def read_names(path: Path) -> frozenset[str]:
    """The metrics of handlers that a metrics.yaml names. Raises ConfigError, OSError."""
    try:
        page = yaml.safe_load(path.read_text())
        kinds = page["model_metrics"].values() if "model_metrics" in page else []
        return frozenset(metric["name"] for metrics in kinds for metric in metrics or [])
    except (yaml.YAMLError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(
            f"expected lists of metrics by their kinds under `model_metrics`, each with a name, got: {error}",
            str(path),
        ) from None


class HandlerMetrics:
    """Thread safety: any thread may use it."""

    def __init__(self, names: frozenset[str] | None, hostname: str) -> None:
        """names: those that are shown; None: all of them."""
        self._names = names
        self._hostname = hostname
        self._lock = threading.Lock()  # over what follows
        self._all = Aggregate()
        self._handlers: dict[tuple[str, str], list[float]] = {}  # HANDLER_SECONDS by model and version
        self._passed_over: set[str] = set()

    def add(self, model: str, version: str, items: Iterable[tuple[MetricKey, float | list[float]]]) -> None:
        """What a worker tells."""
        shown = []
        with self._lock:
            for key, value in items:
                if key.name == HANDLER_SECONDS.name and isinstance(value, list):
                    before = self._handlers.get((model, version), [0.0] * len(value))
                    self._handlers[model, version] = [one + other for one, other in zip(before, value, strict=True)]
                elif self._names is None or key.name in self._names:
                    shown.append((key, value))
                elif key.name not in self._passed_over | OWN_NAMES:
                    self._passed_over.add(key.name)
                    log.warning("the metric %s of the model %s is not shown: no metrics_config names it", key.name, model)
            self._all.merge(shown)

    def handler_seconds(self) -> dict[tuple[str, str], list[float]]:
        """By model and version: the sum, and counts by ModelVersion.bounds()."""
        with self._lock:
            return dict(self._handlers)

    def families(self) -> list[Family]:
        with self._lock:
            values = list(self._all.values.items())
        families: dict[str, Family] = {}
        for key, value in values:
            family = families.setdefault(key.name, _family_of(key))
            labels = {**dict(key.dimensions), "Hostname": self._hostname}
            family.samples.extend(_samples_of(labels, value))
        return list(families.values())


def _family_of(key: MetricKey) -> Family:
    return Family(key.name, f"Torchserve prometheus {key.kind} metric with unit: {key.unit}", key.kind, [])


def _samples_of(labels: dict[str, Any], value: float | Sequence[float]) -> list[Sample]:
    if isinstance(value, (int, float)):
        return [Sample(labels, value)]
    return histogram_samples(labels, BOUNDS, [int(count) for count in value[1:]], value[0])
