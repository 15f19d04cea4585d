"""Spans of the native core in the form of OpenTelemetry's SDK. For those who know that it is installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from persia import _core

__all__ = ["EndedSpans"]

_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_SCOPE = InstrumentationScope("persia-serve")
_NO_STATE, _WELL = TraceState(), Status()


class EndedSpans:
    """They have their ids already, so that they are no spans of the SDK's own making."""

    def __init__(self, tracer: Any) -> None:
        """tracer: the SDK's, whose resource they get."""
        self._resource = tracer.resource

    def of(self, spans: Iterable[_core.tracing.FinishedSpan]) -> Iterator[ReadableSpan]:
        """As the SDK's processors take them."""
        for span in spans:
            trace, flags = int.from_bytes(span.trace_id, "big"), TraceFlags(span.flags)
            state = TraceState.from_header([span.state]) if span.state else _NO_STATE
            yield ReadableSpan(
                name=span.name,
                context=SpanContext(trace, int.from_bytes(span.span_id, "big"), False, flags, state),
                parent=SpanContext(trace, int.from_bytes(span.parent_id, "big"), span.kind == "server", flags, state),
                resource=self._resource,
                attributes=span.facts,
                kind=_KINDS[span.kind],
                status=Status(StatusCode.ERROR, span.problem) if span.failed else _WELL,
                start_time=span.began_ns,
                end_time=span.ended_ns,
                instrumentation_scope=_SCOPE,
            )
