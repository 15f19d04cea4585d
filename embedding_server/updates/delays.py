"""How long packets took from their time to their rows' service, counted for the metrics."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

__all__ = ["DELAY_SECONDS", "Delays"]

DELAY_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class Delays:
    """One thread observes; any may read."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.counts = [0] * (len(DELAY_SECONDS) + 1)  # by the first of DELAY_SECONDS that is not below
        self.seconds = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """For a HistogramMetricFamily: up to each of DELAY_SECONDS, how many."""
        at_most = accumulate(self.counts)
        return [(str(bound), float(count)) for bound, count in zip((*DELAY_SECONDS, "+Inf"), at_most, strict=True)]

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(DELAY_SECONDS, seconds)] += 1
        self.seconds += seconds
