"""The distribution of a number, such as a dense input or a score, in some 2 KB."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.errors import NotFound

from .waiting import Waiting

__all__ = ["Floats", "Numbers", "sketch_kind"]

Floats = npt.NDArray[np.float64]

_K = 200  # ranks are off by 1.3 % at most, nearly always


@cache
def sketch_kind() -> Any:
    """The class of the sketches. Raises NotFound without datasketches."""
    try:
        from datasketches import kll_floats_sketch
    except ModuleNotFoundError as error:
        raise NotFound("watching for drift needs datasketches: pip install 'persia-serve[drift]'") from error
    return kll_floats_sketch


class Numbers:
    """A KLL sketch, which merges, beside exact counts and moments. NaN and infinity are counted, and left out of the rest."""

    def __init__(self) -> None:
        self._count = self._not_finite = 0
        self._mean = 0.0
        self._squares = 0.0  # of distances to the mean
        self._kll: Any = sketch_kind()(_K)
        self._waiting = Waiting(1)

    @property
    def count(self) -> int:
        """Of finite numbers."""
        self._settle()
        return self._count

    @property
    def not_finite(self) -> int:
        self._settle()
        return self._not_finite

    @property
    def mean(self) -> float:
        self._settle()
        return self._mean

    @property
    def deviation(self) -> float:
        return math.sqrt(self._squares / self._count) if self.count else 0.0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Of any type that is a number."""
        if self._waiting.add(np.asarray(values, np.float32).reshape(-1)):
            self._settle()

    def merge(self, other: Numbers) -> None:
        self._not_finite = self.not_finite + other.not_finite
        self._join(other.count, other.mean, other._squares)
        self._kll.merge(other._kll)

    def quantiles(self, ranks: Sequence[float]) -> Floats:
        """Needs a finite number."""
        self._settle()
        return np.array(self._kll.get_quantiles(list(ranks)), np.float64)

    def shares(self, edges: Floats) -> Floats:
        """The shares (edges + 1) of numbers up to each edge, which are ascending, and above the last. Zeros without numbers."""
        if not self.count:
            return np.zeros(len(edges) + 1)
        return np.array(self._kll.get_pmf(edges.astype(np.float32), True), np.float64)

    def parts(self) -> list[Any]:
        return [self.count, self.not_finite, self.mean, self._squares, self._kll.serialize()]

    @classmethod
    def of_parts(cls, parts: Sequence[Any]) -> Numbers:
        made = cls()
        made._count, made._not_finite, made._mean, made._squares, kll = parts
        made._kll = sketch_kind().deserialize(kll)
        return made

    def _settle(self) -> None:
        waiting = self._waiting.take()
        if waiting is None:
            return
        (numbers,) = waiting
        finite = np.isfinite(numbers)
        if not finite.all():
            self._not_finite += len(numbers) - int(finite.sum())
            numbers = numbers[finite]
        if len(numbers):
            self._kll.update(np.ascontiguousarray(numbers))
            mean = float(numbers.mean(dtype=np.float64))
            self._join(len(numbers), mean, float(np.square(numbers - mean, dtype=np.float64).sum()))

    def _join(self, count: int, mean: float, squares: float) -> None:
        """Moments of other numbers are added, by the formula of Chan, Golub and LeVeque."""
        total = self._count + count
        if total:
            apart = mean - self._mean
            self._squares += squares + apart * apart * self._count * count / total
            self._mean += apart * count / total
            self._count = total
