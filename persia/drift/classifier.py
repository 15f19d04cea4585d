"""The domain classifier: how well rows of a window can be told from rows of the reference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .numbers import Floats

__all__ = ["area_under_curve", "domain_auc"]

_STEPS = 12  # of Newton's method
_RIDGE = 1.0


def domain_auc(reference: npt.NDArray[np.float32], window: npt.NDArray[np.float32]) -> float:
    """The area under the curve of a logistic regression that is trained on one half of the rows and tried on the other, twice.

    0.5: they cannot be told apart; 1: always. Both (n, columns), with two rows at least. Numbers that are not finite stand as
    the mean of the reference, and have a column of their own that says so.
    """
    rows = _features(reference, window)
    is_window = np.repeat([0.0, 1.0], [len(reference), len(window)])
    # Each half has every other row of both.
    fold = np.concatenate([np.arange(len(reference)), np.arange(len(window))]) % 2
    areas = []
    for half in (0, 1):
        weights = _trained(rows[fold == half], is_window[fold == half])
        areas.append(area_under_curve(rows[fold != half] @ weights, is_window[fold != half]))
    return float(np.mean(areas))


def area_under_curve(scores: Floats, positive: Floats) -> float:
    """How often a positive has the higher score; ties count half. 0.5 where one of the two kinds is missing."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return 0.5
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    above = float(ranks[positive > 0].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def _features(reference: npt.NDArray[np.float32], window: npt.NDArray[np.float32]) -> Floats:
    """Numbers, their squares (a wider spread is a change too), and a one; by the mean and deviation of the reference."""
    together = np.concatenate([reference, window]).astype(np.float64)
    finite = np.isfinite(together)
    known = np.where(finite, together, np.nan)[: len(reference)]
    counts = np.maximum(finite[: len(reference)].sum(0), 1)
    mean = np.nansum(known, 0) / counts
    deviation = np.sqrt(np.nansum(np.square(known - mean), 0) / counts)
    scaled = (np.where(finite, together, mean) - mean) / np.where(deviation > 0, deviation, 1.0)
    scaled = np.clip(scaled, -10, 10)  # of heavy tails
    odd = ~finite[:, (~finite).any(0)]
    return np.concatenate([scaled, np.square(scaled) / 4, odd.astype(np.float64), np.ones((len(scaled), 1))], 1)


def _trained(rows: Floats, positive: Floats) -> Floats:
    """The weights of a logistic regression with a ridge, both kinds weighing the same."""
    share = positive.mean()
    weight = np.where(positive > 0, 0.5 / share, 0.5 / (1 - share))
    weights = np.zeros(rows.shape[1])
    ridge = np.full(rows.shape[1], _RIDGE)
    for _ in range(_STEPS):
        guess = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (weight * (guess - positive)) + ridge * weights
        bend = (rows * (weight * guess * (1 - guess))[:, None]).T @ rows + np.diag(ridge)
        step = np.linalg.solve(bend, slope)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return weights
