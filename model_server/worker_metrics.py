"""A worker's metrics: what its handler updates, and how long the handler takes, put together and told to the server."""

from __future__ import annotations

import logging
import os
import select
import socket
import time

from persia._core.inference import ModelVersion

from .metric_updates import Aggregate, MetricKey, update_of_line

__all__ = ["HANDLER_SECONDS", "MetricLines", "WorkerMetrics"]

# No metric of a handler's: with it, the server makes a histogram of its own.
HANDLER_SECONDS = MetricKey(":handler", "s", "histogram", ())
_SECONDS_BETWEEN = 0.25  # that updates wait at most, to be told with others


class WorkerMetrics:
    """For the thread of the worker's loop."""

    def __init__(self, pipe: int | None, connection: socket.socket) -> None:
        """pipe: where they are told; None: nowhere. connection: to the server."""
        self._pipe = pipe
        self._updates = Aggregate()
        self._told = 0.0
        self._waiting = select.poll()
        self._waiting.register(connection, select.POLLIN)
        self._bounds = ModelVersion.bounds()
        self._prediction_time = MetricKey("PredictionTime", "ms", "gauge", ())

    def set_model(self, name: str) -> None:
        """Whose handler it is."""
        self._prediction_time = MetricKey("PredictionTime", "ms", "gauge", (("ModelName", name), ("Level", "Model")))

    def add_line(self, line: str) -> None:
        """An update as TorchServe writes it; another line is passed over."""
        update = update_of_line(line)
        if update is not None:
            self._updates.add(update.key, update.value)

    def add_handled(self, seconds: float) -> None:
        """A batch that the handler took so long for."""
        self._updates.add(HANDLER_SECONDS, seconds, self._bounds)
        self._updates.add(self._prediction_time, round(seconds * 1000, 2))

    def tell(self) -> None:
        """Before the worker waits for the next batch: tells what there is, but not of each batch by itself."""
        if self._pipe is None or not self._updates.values:
            return
        left = self._told + _SECONDS_BETWEEN - time.monotonic()
        if left > 0 and self._waiting.poll(left * 1000):
            return  # the next batch is there
        line = self._updates.take_line()
        while line:
            line = line[os.write(self._pipe, line) :]
        self._told = time.monotonic()


class MetricLines(logging.Filter):
    """Takes the lines of metrics out of a log."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        super().__init__()
        self._metrics = metrics

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line stays in the log."""
        if not isinstance(record.msg, str) or "[METRICS]" not in record.msg:
            return True
        self._metrics.add_line(record.getMessage())
        return False
