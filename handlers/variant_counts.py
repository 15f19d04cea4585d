"""How many requests each variant gets, and how many of them fail, among the metrics of the handler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ts.metrics.dimension import Dimension

from persia.variant import NO_VARIANT, OTHERS

__all__ = ["VariantCounts"]

REQUESTS, FAILURES, DIMENSION = "VariantRequests", "VariantFailures", "Variant"


class VariantCounts:
    """Counts nothing as long as nobody asks for a variant and no split is set. For the thread of the handler."""

    def __init__(self, split: Iterable[str]) -> None:
        """split: the names of variants that the archive gives requests to."""
        self._known = set(split)

    def add(self, context: Any, requests: Iterable[tuple[str, bool]]) -> None:
        """Adds requests, each by its variant, empty for none, and whether it was answered, to the context's metrics."""
        counted: Counter[tuple[str, str]] = Counter()
        for name, answered in requests:
            if answered and name:
                self._known.add(name)
            if not self._known and not name:
                continue
            # A name that nobody knows is a caller's, who would make as many metrics as there are words.
            label = name if name in self._known else OTHERS if name else NO_VARIANT
            counted[REQUESTS, label] += 1
            if not answered:
                counted[FAILURES, label] += 1
        for (metric, label), count in counted.items():
            context.metrics.add_counter(metric, count, None, [Dimension(DIMENSION, label)])
