"""What workers write: lines for the log, each with model, version and worker; and metrics.

One thread reads the pipes of all workers, so that no worker waits, and another one writes, so that none writes into the line of
another. A worker that writes far more than anybody reads does not fill the disk: what is over its allowance is left out, and
counted.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from .handler_metrics import HandlerMetrics
from .metric_updates import Aggregate, MetricKey, line_of, update_of_line
from .request_ids import ids_and_words
from .worker_metrics import HANDLER_SECONDS

__all__ = ["Pipes", "WorkerOutput"]

log = logging.getLogger(__name__)
lines = logging.getLogger("model_log")
metric_lines = logging.getLogger("model_metrics")

_PIPE_BYTES = 256 << 10
_LONGEST_LINE = 64 << 10
_TELL_SECONDS = 5.0  # between two lines of the log about what is left out of one worker


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
        self.burst = burst
        self._left = float(burst)
        self._since = time.monotonic()

    def take(self, count: int) -> bool:
        """Whether so many are left."""
        now = time.monotonic()
        self._left = min(self.burst, self._left + (now - self._since) * self.per_second)
        self._since = now
        if count > self._left:
            return False
        self._left -= count
        return True


class _Lines:
    """Lines that come over a pipe, in parts. For the thread that writes."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._rest = b""
        self._is_cut = False  # what comes next may begin within a line

    def feed(self, part: bytes) -> None:
        if self._is_cut:
            _, newline, part = part.partition(b"\n")
            self._is_cut = not newline
        *whole, self._rest = (self._rest + part).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            self._take(line)

    def cut(self) -> None:
        """A part is left out here."""
        self._rest, self._is_cut = b"", True

    def end(self) -> None:
        if self._rest:
            self._take(self._rest)


class _Stream:
    """A pipe, and what of it is left out. For the thread that reads; that which writes has `lines`, and counts `written`."""

    def __init__(self, take: Callable[[bytes], None], place: str, allowance: Allowance | None) -> None:
        """allowance: None: all is taken."""
        self.lines = _Lines(take)
        self.written = 0
        self.was_cut = False  # by what came last
        self._place = place
        self._allowance = allowance
        self._admitted = 0
        self._left_out = 0
        self._told = 0.0  # when the log was told of what is left out; 0: never

    def admits(self, count: int) -> bool:
        """Whether so many bytes more are to be written: what is over is left out at once, and nobody waits for it."""
        if self._allowance is None:
            return True
        waits = self._admitted - self.written
        if waits + count > self._allowance.burst or not self._allowance.take(count):
            self._leave_out(count, self._allowance.per_second)
            return False
        self._admitted += count
        return True

    def _leave_out(self, count: int, per_second: int) -> None:
        now = time.monotonic()
        if self._left_out == 0 and now - self._told > _TELL_SECONDS:
            log.warning("%s writes more than %d bytes a second: what is over is left out", self._place, per_second)
            self._told = now
        self._left_out += count

    def tell(self, is_end: bool = False) -> None:
        """How much was left out: once in a while, and at the end."""
        if self._left_out and (is_end or time.monotonic() - self._told > _TELL_SECONDS):
            log.warning("%d bytes of %s were left out", self._left_out, self._place)
            self._left_out, self._told = 0, time.monotonic()

    @property
    def is_telling(self) -> bool:
        """Whether there is something to tell."""
        return self._left_out > 0


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
        # Streams with what came of them; empty: something is left out here; None: the end. No stream: the end of all.
        self._parts: queue.SimpleQueue[tuple[_Stream | None, bytes | None]] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for run, name in ((self._read_all, "worker-output"), (self._write_all, "worker-log"))
        ]
        for thread in self._threads:
            thread.start()

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
        for thread in self._threads:
            thread.join()
        self._epoll.close()
        os.close(self._end_read)

    def _add(self, take: Callable[[bytes], None], place: str, allowance: Allowance | None) -> int:
        """Returns the end to write to."""
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        with suppress(OSError):  # the user has many large pipes
            fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._streams[read] = _Stream(take, place, allowance)
        self._epoll.register(read, select.EPOLLIN)
        return write

    def _read_all(self) -> None:
        closing = False
        while not closing:
            waits = any(stream.is_telling for stream in list(self._streams.values()))
            ready = [number for number, _ in self._epoll.poll(_TELL_SECONDS if waits else None)]
            closing = self._end_read in ready
            for number in list(self._streams) if closing else ready:
                self._read(number)
            for stream in list(self._streams.values()):
                stream.tell()
        for number in list(self._streams):
            self._end(number)
        self._parts.put((None, None))

    def _read(self, number: int) -> None:
        try:
            part = os.read(number, _PIPE_BYTES)
        except BlockingIOError:
            return
        if not part:
            self._epoll.unregister(number)
            self._end(number)
            return
        stream = self._streams[number]
        if stream.admits(len(part)):
            self._parts.put((stream, part))
            stream.was_cut = False
        elif not stream.was_cut:
            self._parts.put((stream, b""))
            stream.was_cut = True

    def _end(self, number: int) -> None:
        stream = self._streams.pop(number)
        self._parts.put((stream, None))
        stream.tell(is_end=True)
        os.close(number)

    def _write_all(self) -> None:
        while True:
            stream, part = self._parts.get()
            if stream is None:
                return
            if part is None:
                stream.lines.end()
            elif part:
                stream.lines.feed(part)
                stream.written += len(part)
            else:
                stream.lines.cut()

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
