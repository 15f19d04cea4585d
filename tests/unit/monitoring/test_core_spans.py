"""Spans of the native core on their way to OpenTelemetry. Nobody is asked: there is no replica."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from persia import _core
from persia.batch import IDTypeFeature, PersiaBatch
from persia.config import parse_embedding_config
from persia.core_spans import CoreSpans, core_spans
from persia.errors import FeatureError, Unavailable
from persia.routing import make_slots
from persia.tracing import VARIABLE
from tests.support.servers import wait_until

SAMPLED = trace.SpanContext(0xABC, 0xDEF, True, trace.TraceFlags(1), trace.TraceState([("vendor", "1")]))
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = trace.SpanContext(0xABC, 0xDEF, True, trace.TraceFlags(0))


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """By a provider of this test alone."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


@pytest.fixture
def spans() -> Iterator[CoreSpans]:
    made = CoreSpans(most=4)
    yield made
    made.stop()


def begin_in_vain(caller: _core.tracing.Caller | None, name: str = "user") -> _core.net.Lookup:
    slots = make_slots(parse_embedding_config("slots_config: {user: {dim: 8}}"))
    router = _core.net.Router(slots, [_core.net.ReplicaSet("shard 0 of 1", [])], hedge_after=1, wait_for_service=0, spin_for=0)
    data = PersiaBatch([IDTypeFeature(name, [np.array([7], np.uint64)])], requires_grad=False).to_bytes()
    return router.begin(_core.decode_batch(data), 1, caller=caller)


def look_up_in_vain(caller: _core.tracing.Caller | None) -> None:
    with pytest.raises(Unavailable):
        begin_in_vain(caller).finish()


def look_up_within(context: trace.SpanContext, spans: CoreSpans) -> None:
    with trace.use_span(trace.NonRecordingSpan(context)):
        look_up_in_vain(spans.caller())


def test_a_span_is_handed_over_as_the_core_has_it(spans: CoreSpans, exported: InMemorySpanExporter) -> None:
    look_up_within(SAMPLED, spans)
    look_up_within(NOT_SAMPLED, spans)
    look_up_within(trace.INVALID_SPAN_CONTEXT, spans)
    (span,) = wait_until(exported.get_finished_spans, "the span is handed over")
    assert isinstance(span, ReadableSpan) and span.name == "persia.route" and span.kind is trace.SpanKind.INTERNAL
    assert span.parent is not None and span.context is not None
    assert (span.parent.trace_id, span.parent.span_id) == (0xABC, 0xDEF)
    assert span.context.trace_id == 0xABC and span.context.span_id not in (0, 0xDEF)
    assert span.context.trace_state.to_header() == "vendor=1"
    assert not span.status.is_ok and str(span.status.description).startswith("expected an answer of shard 0 of 1, got none")
    assert span.start_time and span.end_time and span.start_time <= span.end_time
    assert span.resource.attributes["telemetry.sdk.name"] == "opentelemetry"


def test_of_a_text_that_a_caller_has_sent_little_is_kept(spans: CoreSpans, exported: InMemorySpanExporter) -> None:
    with pytest.raises(FeatureError):
        begin_in_vain(spans.ring.caller(PARENT), "\xe4" * 100_000)
    spans.start()
    spans.stop()
    (span,) = exported.get_finished_spans()
    assert "\xe4" in str(span.status.description) and len(str(span.status.description).encode()) <= 1024


def test_a_span_ends_with_the_error_of_its_lookup(spans: CoreSpans, exported: InMemorySpanExporter) -> None:
    """Whoever keeps the error keeps the lookup, too."""
    lookup = begin_in_vain(spans.ring.caller(PARENT))
    with pytest.raises(Unavailable):
        lookup.finish()
    spans.start()
    spans.stop()
    (span,) = exported.get_finished_spans()
    assert span.name == "persia.route" and not span.status.is_ok
    del lookup
    assert not spans.ring.take(0)


def test_what_is_there_at_the_end_is_handed_over(spans: CoreSpans, exported: InMemorySpanExporter) -> None:
    look_up_within(SAMPLED, spans)
    spans.stop()
    assert len(exported.get_finished_spans()) == 1
    look_up_within(SAMPLED, spans)  # nobody takes it any more
    spans.stop()


def test_spans_that_are_dropped_are_said(
    spans: CoreSpans, exported: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caller = spans.ring.caller(PARENT)
    assert caller is not None and spans.dropped == 0
    for _ in range(7):
        look_up_in_vain(caller)
    with caplog.at_level(logging.WARNING):
        spans.start()
        spans.stop()
    assert len(exported.get_finished_spans()) == 4 and spans.dropped == 3
    assert caplog.messages == ["3 spans were dropped so far: more requests are sampled than can be handed over"]


def test_a_processor_that_fails_costs_its_spans_alone(
    spans: CoreSpans, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SimpleSpanProcessor, "on_end", lambda *_: 1 / 0)
        look_up_within(SAMPLED, spans)
        wait_until(lambda: caplog.messages == ["1 spans of the native core are lost"], "the loss is said")
    look_up_within(SAMPLED, spans)
    wait_until(exported.get_finished_spans, "the next one is handed over")


def test_only_headers_that_are_well_and_sampled_make_a_caller(spans: CoreSpans) -> None:
    assert spans.ring.caller(PARENT, "a=1") is not None
    assert [spans.ring.caller(text) for text in ("", PARENT[:-1], f"{PARENT[:-2]}00", PARENT.upper())] == [None] * 4


def test_a_process_that_was_not_told_to_has_none() -> None:
    assert core_spans({}) is None and core_spans({VARIABLE: "0"}) is None
    told = core_spans({VARIABLE: "1"})
    assert told is not None and told is core_spans({VARIABLE: "1"})


def test_without_the_sdk_spans_are_dropped_and_that_is_said_once(
    spans: CoreSpans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    for _ in range(2):
        look_up_within(SAMPLED, spans)
        wait_until(lambda: caplog.messages, "the loss is said")
    spans.stop()
    assert caplog.messages == [
        "spans of the native core are dropped: traces are wanted, but this program has not set up OpenTelemetry's SDK"
    ]
