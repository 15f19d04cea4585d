"""How far two distributions are apart, and how far they would be by chance alone."""

from __future__ import annotations

import math

import numpy as np

from .numbers import Floats

__all__ = ["cosine_distance", "edges_of_deciles", "jensen_shannon", "psi", "psi_by_chance", "rate_by_chance"]

SIGMAS = 3.0
# The distribution of a PSI by chance is skewed, so that more than 1 in 1000 is beyond three deviations.
_SKEWED_SIGMAS = 4.0


def psi(reference: Floats, window: Floats, reference_count: int, window_count: int) -> float:
    """The population stability index of two distributions over the same cells. Half a case is added to each cell."""
    p, q = (
        (shares * count + 0.5) / (count + 0.5 * len(shares))
        for shares, count in ((reference, reference_count), (window, window_count))
    )
    return float(((q - p) * np.log(q / p)).sum())


def psi_by_chance(cells: int, reference_count: int, window_count: int) -> float:
    """What PSI seldom exceeds where both are samples of one distribution: PSI is then about chi squared, times 1/n + 1/m."""
    noise = 1 / max(reference_count, 1) + 1 / max(window_count, 1)
    freedom = max(cells - 1, 1)
    return (freedom + _SKEWED_SIGMAS * math.sqrt(2 * freedom)) * noise


def rate_by_chance(hits: int, total: int, window_total: int) -> float:
    """What the rate of a window seldom exceeds, where the reference has so many hits of its total."""
    rate = (hits + 1) / (total + 2)
    return rate + SIGMAS * math.sqrt(rate * (1 - rate) * (1 / max(total, 1) + 1 / max(window_total, 1)))


def jensen_shannon(p: Floats, q: Floats) -> float:
    """The distance, from 0 for the same to 1 for nothing in common."""
    middle = (p + q) / 2
    return math.sqrt(max(0.0, (_information(p, middle) + _information(q, middle)) / 2))


def cosine_distance(a: Floats, b: Floats) -> float:
    """1 less the cosine; 0 where one of the vectors is zero."""
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 1.0 - float(a @ b) / norms if norms else 0.0


def edges_of_deciles(quantiles: Floats) -> Floats:
    """The edges of cells. A value that is several deciles at once gets a cell of its own, so that it can leave either way."""
    values, times = np.unique(quantiles.astype(np.float32), return_counts=True)
    below = np.nextafter(values[times > 1], np.float32(-np.inf))
    return np.union1d(values, below).astype(np.float64)


def _information(p: Floats, q: Floats) -> float:
    cells = p > 0
    return float((p[cells] * np.log2(p[cells] / q[cells])).sum())
