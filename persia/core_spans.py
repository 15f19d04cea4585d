"""Spans of what the native core does, handed over to OpenTelemetry: of sampled requests alone, and where traces are wanted."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from persia import _core
from persia.tracing import are_wanted, not_installed

__all__ = ["MOST_SPANS", "CoreSpans", "caller_here", "core_spans"]

log = logging.getLogger(__name__)

MOST_SPANS = 4096  # that wait in the core
_TAKE_SECONDS = 0.25
_NO_SDK = "spans of the native core are dropped: traces are wanted, but this program has not set up OpenTelemetry's SDK"


class CoreSpans:
    """The core puts spans into a ring, and a thread here takes them out. Any thread may use it."""

    def __init__(self, most: int = MOST_SPANS) -> None:
        """A ring for `most` spans: the core drops those beyond them, and counts them.

        Raises ConfigError: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry.trace import TraceFlags, get_current_span
        except ImportError as error:
            raise not_installed(error) from None
        self._current_span, self._sampled = get_current_span, TraceFlags.SAMPLED
        self.ring = _core.tracing.SpanRing(most)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._told = 0  # of those that were dropped, how many the log knows
        self._said_no_sdk = self._stopping = False

    @property
    def dropped(self) -> int:
        """Since the start."""
        return self.ring.dropped

    def caller(self) -> _core.tracing.Caller | None:
        """Of what this thread does now, for the core. None: it is in no span, or in one that is not sampled."""
        span = self._current_span().get_span_context()
        if not (span.trace_flags & self._sampled and span.is_valid):
            return None
        self.start()
        parent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
        return self.ring.caller(parent, span.trace_state.to_header() if span.trace_state else "")

    def start(self) -> None:
        """Idempotent."""
        with self._lock:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="core-spans", daemon=True)
                self._thread.start()
                atexit.register(self.stop)  # before those that were there first, such as the exporter's own end

    def stop(self) -> None:
        """Hands over what is there, and takes no more. Idempotent."""
        with self._lock:
            self._stopping = True
            thread, self._thread = self._thread, None
        self.ring.close()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._hand_over(self.ring.take(_TAKE_SECONDS))
        self._hand_over(self.ring.take(0))

    def _hand_over(self, spans: Sequence[_core.tracing.FinishedSpan]) -> None:
        if not spans:
            return
        try:
            if not _to_opentelemetry(spans) and not self._said_no_sdk:
                self._said_no_sdk = True
                log.warning(_NO_SDK)
        except Exception:  # of somebody's processor: spans are lost, and those that follow need not be
            log.exception("%d spans of the native core are lost", len(spans))
        if (dropped := self.dropped) > self._told:
            self._told = dropped
            log.warning("%d spans were dropped so far: more requests are sampled than can be handed over", dropped)


def core_spans(environment: Mapping[str, str] = os.environ) -> CoreSpans | None:
    """Those of this process; None: no traces are wanted. Raises ConfigError, as CoreSpans."""
    return _of_process(os.getpid()) if are_wanted(environment) else None


def caller_here() -> _core.tracing.Caller | None:
    """As CoreSpans.caller of this process. REQUIRES: traces are wanted, which costs more to be asked each time than once."""
    return _of_process(os.getpid()).caller()


@cache
def _of_process(_process: int) -> CoreSpans:
    """A process that was forked has its own."""
    return CoreSpans()


def _to_opentelemetry(spans: Sequence[_core.tracing.FinishedSpan]) -> bool:
    """They have their ids already, which the core has told to others: so they go to the SDK as spans that have ended.

    False: there is no SDK.
    """
    from opentelemetry import trace

    tracer: Any = trace.get_tracer_provider().get_tracer("persia-serve")
    processor = getattr(tracer, "span_processor", None)
    if processor is None:
        return False
    from persia.ended_spans import EndedSpans  # needs the SDK, which is there

    for span in EndedSpans(tracer).of(spans):
        processor.on_end(span)
    return True
