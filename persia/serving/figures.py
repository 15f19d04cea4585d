"""Figures of lookups and of durations, as both services tell them to those who ask."""

from __future__ import annotations

from collections.abc import Sequence

from persia import _core
from persia.v1 import embedding_pb2 as pb

__all__ = ["durations", "lookup_figures"]


def durations(bounds: Sequence[float], counts: Sequence[int], seconds: float) -> pb.Durations:
    """counts: within each of the bounds and beyond the one before; last, beyond all of them."""
    return pb.Durations(bounds=bounds, within=counts, seconds=seconds)


def lookup_figures(bounds: Sequence[float], calls: _core.net.CallTotals) -> pb.LookupFigures:
    """bounds: those of the calls' histogram."""
    took = calls.seconds
    return pb.LookupFigures(took=durations(bounds, [*took.within, took.beyond], took.seconds), failed=sum(calls.by_code[1:]))
