"""Traces of single requests by OpenTelemetry, where they are wanted; else nothing, at the cost of nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from typing import Any, Protocol, TypeVar

from persia.errors import ConfigError

__all__ = ["NO_TRACES", "VARIABLE", "Span", "Traces", "are_wanted", "not_installed", "traces_of", "within_here"]

VARIABLE = "PERSIA_TRACES"

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")
_ADVICE = "it needs OpenTelemetry: pip install 'persia-serve[traces]'"


class Span(Protocol):
    """What is done, from its begin to its end."""

    def set_attribute(self, key: str, value: str | bool | int | float) -> object:
        """What of it is worth to be known."""


class Traces(Protocol):
    """Thread safety: any thread may use it. A span is the child of the one that its thread is in."""

    def span(
        self, name: str, callers: Iterable[Mapping[str, Any]] = (), **attributes: str | int
    ) -> AbstractContextManager[Span]:
        """callers: headers of those for whom it is done: the first one's span is its parent, and others are linked."""

    def headers(self) -> Mapping[str, str]:
        """What tells another process which span it works for; empty: there is none."""


class _NoSpan:
    def set_attribute(self, key: str, value: str | bool | int | float) -> object:
        return None


_NO_SPAN: AbstractContextManager[Span] = nullcontext(_NoSpan())


class _NoTraces:
    def span(
        self, name: str, callers: Iterable[Mapping[str, Any]] = (), **attributes: str | int
    ) -> AbstractContextManager[Span]:
        return _NO_SPAN

    def headers(self) -> Mapping[str, str]:
        return {}


NO_TRACES: Traces = _NoTraces()


class _OpenTelemetry:
    """By its API alone: who has set it up decides what becomes of spans."""

    def __init__(self) -> None:
        from opentelemetry import propagate, trace

        self._propagate, self._trace = propagate, trace
        self._tracer = trace.get_tracer("persia-serve")
        self._names = frozenset(propagate.get_global_textmap().fields)  # of the headers that say something

    def span(
        self, name: str, callers: Iterable[Mapping[str, Any]] = (), **attributes: str | int
    ) -> AbstractContextManager[Span]:
        around = self._trace.get_current_span()
        if around.get_span_context().is_valid and not around.is_recording():
            return _NO_SPAN  # a part of what is not sampled is not either: most requests pay for one span
        return self._begun(name, callers, attributes)

    @contextmanager
    def _begun(self, name: str, callers: Iterable[Mapping[str, Any]], attributes: Mapping[str, str | int]) -> Iterator[Span]:
        told = [texts for headers in callers if self._names & (texts := _texts(headers)).keys()]
        parents = [self._propagate.extract(texts) for texts in told]
        spans = [self._trace.get_current_span(parent).get_span_context() for parent in parents]
        known = [(parent, span) for parent, span in zip(parents, spans, strict=True) if span.is_valid]
        links = [self._trace.Link(span) for _, span in known[1:]]
        parent = known[0][0] if known else None
        with self._tracer.start_as_current_span(name, parent, attributes=attributes, links=links) as span:
            yield span

    def headers(self) -> Mapping[str, str]:
        carrier: dict[str, str] = {}
        self._propagate.inject(carrier)
        return carrier


def are_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process was told to make traces."""
    return environment.get(VARIABLE, "") not in ("", "0")


def traces_of(service: str, environment: Mapping[str, str] = os.environ) -> Traces:
    """What this process makes of its requests. service: its name, where OTEL_SERVICE_NAME says none.

    A program that has set OpenTelemetry up keeps what it has set up. In others, spans go to the receiver that OTEL_... names.
    Raises ConfigError: OpenTelemetry is wanted and not installed.
    """
    if not are_wanted(environment):
        return NO_TRACES
    try:
        _set_up(service)
        return _OpenTelemetry()
    except ImportError as error:
        raise not_installed(error) from None


def not_installed(error: ImportError) -> ConfigError:
    """What is to be done where traces are wanted, and OpenTelemetry cannot be imported."""
    return ConfigError(f"{VARIABLE} is set, but {error.name} is not there: {_ADVICE}", f"${VARIABLE}")


def within_here(work: Callable[[_Given], _Result]) -> Callable[[_Given], _Result]:
    """For other threads, whose spans are then children of the one that this thread is in."""
    here = copy_context()
    return lambda given: here.copy().run(work, given)


def _set_up(service: str) -> None:
    from opentelemetry import trace

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = Resource.create({} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": service})
    provider = TracerProvider(resource=named)  # its sampler is that of OTEL_TRACES_SAMPLER
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def _texts(headers: Mapping[str, Any]) -> dict[str, str]:
    """Headers as the propagator wants them: lower case, and text."""
    return {
        str(name).lower(): value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for name, value in headers.items()
    }
