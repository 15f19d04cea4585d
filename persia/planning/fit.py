"""Costs as sums of counts times prices: prices that fit what was measured, and how far off they are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

__all__ = ["Misfit", "fit_prices", "misfit_of"]

_Numbers = npt.NDArray[np.float64]


def fit_prices(counts: Sequence[Sequence[float]], costs: Sequence[float]) -> _Numbers:
    """Prices of at least 0 for which `counts @ prices` is nearest to the costs, in relative terms.

    Each point counts the same, however much it costs. All sets of prices that are not 0 are tried: there are few, and the best
    one without a price below 0 is the one that is wanted.

    counts: for each point a row with the count of each thing. costs: of each point, above 0.
    """
    target = np.ones(len(costs))
    relative = np.asarray(counts, float) / np.asarray(costs, float)[:, None]
    scale = np.maximum(relative.max(axis=0), 1e-300)
    things = relative.shape[1]
    best, least = np.zeros(things), float(np.inf)
    for size in range(1, things + 1):
        for chosen in map(list, combinations(range(things), size)):
            part = np.linalg.lstsq(relative[:, chosen] / scale[chosen], target, rcond=None)[0]
            if (part < 0).any():
                continue
            prices = np.zeros(things)
            prices[chosen] = part / scale[chosen]
            off = float(np.sum((relative @ prices - target) ** 2))
            if off < least * (1 - 1e-9):
                best, least = prices, off
    return best


@dataclass(frozen=True)
class Misfit:
    """How far the model was off where it was not fitted, as shares: 0.1 is a tenth of what was measured."""

    median: float
    worst: float
    points: int

    def __str__(self) -> str:
        return f"off by {self.median:.0%}, at worst {self.worst:.0%}, at {self.points} points held out"


def misfit_of(expected: Sequence[float], measured: Sequence[float]) -> Misfit:
    """REQUIRES: there is a point, and nothing measured is 0. Half of what was measured is as far off as twice as much."""
    ratios = [max(one, 1e-300) / other for one, other in zip(expected, measured, strict=True)]
    off = [max(ratio, 1 / ratio) - 1 for ratio in ratios]
    return Misfit(float(np.median(off)), max(off), len(off))
