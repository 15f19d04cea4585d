"""Spans of what the core does. Use persia.core_spans rather than this.

`from persia import _core`, then `_core.tracing`: it is a part of that extension, not a module of a package.
"""

from typing import Literal

class FinishedSpan:
    """A span of a sampled request."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["internal", "server", "client"]: ...
    @property
    def trace_id(self) -> bytes: ...
    @property
    def span_id(self) -> bytes: ...
    @property
    def parent_id(self) -> bytes:
        """Of the same trace."""
    @property
    def flags(self) -> int: ...
    @property
    def state(self) -> str:
        """What vendors say of the trace: `tracestate`."""
    @property
    def began_ns(self) -> int:
        """Since 1970."""
    @property
    def ended_ns(self) -> int: ...
    @property
    def facts(self) -> dict[str, bool | int | float | str]:
        """What is to be known of it."""
    @property
    def failed(self) -> bool: ...
    @property
    def problem(self) -> str:
        """Why it failed."""

class Caller:
    """For whom something is done that is sampled, and where its spans go."""

class SpanRing:
    """Spans from their end until somebody takes them. Any thread may use it."""

    def __init__(self, most: int) -> None:
        """most: spans that may wait. What is beyond is dropped, and counted."""
    def caller(self, traceparent: str, tracestate: str = "") -> Caller | None:
        """By headers of W3C Trace Context. None: they are broken, or the trace is not sampled."""
    def take(self, after: float) -> list[FinishedSpan]:
        """All, after so many seconds; sooner when half of the room is taken, or after close()."""
    def close(self) -> None:
        """Nobody waits in take() any more."""
    @property
    def dropped(self) -> int: ...
