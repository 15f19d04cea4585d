"""What came of the calls to one version of a model, in little memory however many they were."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Results", "VersionResults"]

_STEP = math.log(1.04)  # from one bucket of seconds to the next
_LEAST = 1e-6


class Results(NamedTuple):
    """Since the start. Seconds are of calls that were answered, exact to 2 percent; NaN where there were none."""

    requests: int
    errors: Mapping[str, int]  # by the names of their classes
    fell_back: int  # requests that another version answered, as this one failed them
    p50: float
    p90: float
    p99: float
    score_mean: float  # over the answers that have scores, each counting once; NaN: there are none
    score_difference: float  # of shadow copies: the mean distance to what the caller got; NaN: there are none


class VersionResults:
    """Any number of threads may tell it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: Counter[int] = Counter()  # by bucket
        self._errors: Counter[str] = Counter()
        self._fell_back = 0
        self._scores, self._differences = _Mean(), _Mean()

    def answered(self, seconds: float, score: float | None, beside: float | None = None) -> None:
        """score: the mean of an answer's scores; beside: of the answer that the caller got, where this is a shadow's."""
        with self._lock:
            self._seconds[math.floor(math.log(max(seconds, _LEAST)) / _STEP)] += 1
            if score is not None:
                self._scores.add(score)
            if score is not None and beside is not None:
                self._differences.add(abs(score - beside))

    def failed(self, error: Exception) -> None:
        with self._lock:
            self._errors[type(error).__name__] += 1

    def fell_back(self) -> None:
        """What failed here another version has answered."""
        with self._lock:
            self._fell_back += 1

    def results(self) -> Results:
        with self._lock:
            return Results(
                sum(self._seconds.values()) + sum(self._errors.values()),
                dict(self._errors),
                self._fell_back,
                self._quantile(0.5),
                self._quantile(0.9),
                self._quantile(0.99),
                self._scores.mean(),
                self._differences.mean(),
            )

    def _quantile(self, share: float) -> float:
        """REQUIRES: the lock is held."""
        left = share * sum(self._seconds.values())
        for bucket in sorted(self._seconds):
            left -= self._seconds[bucket]
            if left <= 0:
                return math.exp((bucket + 0.5) * _STEP)
        return math.nan


class _Mean:
    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, number: float) -> None:
        self._sum, self._count = self._sum + number, self._count + 1

    def mean(self) -> float:
        return self._sum / self._count if self._count else math.nan
