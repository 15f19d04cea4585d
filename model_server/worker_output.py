"""What workers write: lines for the log, each with model, version and worker; and metrics.

One thread reads the pipes of all workers, so that no worker waits, and none writes into the line of another. A worker that
writes far more than anybody reads does not fill the disk: what is over its allowance is left out, and counted.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from .handler_metrics import HandlerMetrics
from .metric_updates import Aggregate, MetricKey, line_of, update_of_line
from .request_ids import ids_and_words
from .worker_metrics import HANDLER_SECONDS

__all__ = ["Pipes", "WorkerOutput"]

log = logging.getLogger(__name__)
lines = logging.getLogger("model_log")
metric_lines = logging.getLogger("model_metrics")

_READ_BYTES = 64 << 10
_LONGEST_LINE = 64 << 10


class Pipes(NamedTuple):
    """What a worker's process writes to; whoever has started it closes them."""

    output: int
    metrics: int

    def close(self) -> None:
        os.close(self.output)
        os.close(self.metrics)


class Allowance:
    """So many bytes at once, which grow back by so many a second."""

    def __init__(self, burst: int, per_second: int) -> None:
        self.per_second = per_second
        self._burst = burst
        self._left = float(burst)
        self._since = time.monotonic()

    def take(self, count: int) -> bool:
        """Whether so many are left."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._since) * self.per_second)
        self._since = now
        if count > self._left:
            return False
        self._left -= count
        return True


class _Stream:
    """Lines that come over a pipe."""

    def __init__(self, take: Callable[[bytes], None], place: str, allowance: Allowance | None) -> None:
        """allowance: None: all is taken."""
        self._take = take
        self._place = place
        self._allowance = allowance
        self._left_out = 0
        self._rest = b""

    def feed(self, part: bytes) -> None:
        if self._allowance is not None and not self._allowance.take(len(part)):
            if self._left_out == 0:
                per_second = self._allowance.per_second
                log.warning("%s writes more than %d bytes a second: what is over is left out", self._place, per_second)
            self._left_out += len(part)
            return
        self._tell_left_out()
        *whole, self._rest = (self._rest + part).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            self._take(line)

    def end(self) -> None:
        if self._rest:
            self._take(self._rest)
        self._tell_left_out()

    def _tell_left_out(self) -> None:
        if self._left_out:
            log.warning("%d bytes of %s were left out", self._left_out, self._place)
            self._left_out, self._rest = 0, b""


class WorkerOutput:
    """Thread safety: any thread may use it."""

    def __init__(self, metrics: HandlerMetrics, burst: int = 8 << 20, per_second: int = 1 << 20) -> None:
        """burst, per_second: bytes that each worker may write to the log."""
        self._metrics = metrics
        self._burst, self._per_second = burst, per_second
        self._epoll = select.epoll()
        self._streams: dict[int, _Stream] = {}
        self._end_read, self._end_write = os.pipe2(os.O_CLOEXEC)
        self._epoll.register(self._end_read, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="worker-output", daemon=True)
        self._thread.start()

    def open(self, model: str, version: str, worker: str) -> Pipes:
        """For one process of a worker."""
        place = f"{model} {version} {worker}"
        return Pipes(
            self._add(
                lambda line: self._take_line(model, version, place, line), place, Allowance(self._burst, self._per_second)
            ),
            self._add(lambda line: self._take_metrics(model, version, line), place, None),
        )

    def close(self) -> None:
        """What has come by now is still written."""
        os.close(self._end_write)
        self._thread.join()
        self._epoll.close()
        os.close(self._end_read)

    def _add(self, take: Callable[[bytes], None], place: str, allowance: Allowance | None) -> int:
        """Returns the end to write to."""
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        self._streams[read] = _Stream(take, place, allowance)
        self._epoll.register(read, select.EPOLLIN)
        return write

    def _run(self) -> None:
        closing = False
        while not closing:
            ready = [number for number, _ in self._epoll.poll()]
            closing = self._end_read in ready
            for number in list(self._streams) if closing else ready:
                self._read(number)
        for number, stream in self._streams.items():
            stream.end()
            os.close(number)

    def _read(self, number: int) -> None:
        try:
            part = os.read(number, _READ_BYTES)
        except BlockingIOError:
            return
        if part:
            self._streams[number].feed(part)
            return
        self._streams.pop(number).end()
        self._epoll.unregister(number)
        os.close(number)

    def _take_line(self, model: str, version: str, place: str, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        update = update_of_line(text)
        if update is None:
            ids, words = ids_and_words(text)
            fields = {"model": model, "version": version, "worker": place.rpartition(" ")[2]}
            said = f"[{','.join(ids)}] {words}" if ids else words
            lines.info("%s: %s", place, said, extra={"fields": {**fields, "request_ids": ids} if ids else fields})
            return
        aggregate = Aggregate()
        aggregate.add(update.key, update.value)
        self._add_metrics(model, version, list(aggregate.values.items()))

    def _take_metrics(self, model: str, version: str, line: bytes) -> None:
        try:
            items = Aggregate.items_of_line(line)
        except (ValueError, TypeError):
            log.warning("expected metrics of a worker of %s, got another line", model)
        else:
            self._add_metrics(model, version, items)

    def _add_metrics(self, model: str, version: str, items: list[tuple[MetricKey, float | list[float]]]) -> None:
        self._metrics.add(model, version, items)
        for key, value in items:
            if key.name != HANDLER_SECONDS.name and metric_lines.isEnabledFor(logging.INFO):
                metric_lines.info("%s", line_of(key, value))
