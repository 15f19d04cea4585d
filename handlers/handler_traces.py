"""The traces of a worker's handler: one set-up for the process."""

from __future__ import annotations

from functools import cache

from persia.tracing import Traces, traces_of

__all__ = ["handler_traces"]


@cache
def handler_traces() -> Traces:
    """Raises ConfigError: they are wanted, and OpenTelemetry is not installed."""
    return traces_of("persia-handler")
