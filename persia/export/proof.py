"""Whether what is served is the model: three comparisons, none of which leaves room for another feature, row or order.

1. The model's own forward against its dense half, fed with the tables' rows: the dense half and the mapping are the model's.
2. The served embeddings against the tables' rows: only rounding to f16 lies between them.
3. The served scores against those of the dense half for the very same embeddings: the archive is the dense half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.errors import ExportError

from .features import UsedFeature
from .sample import Expected
from .tables import F16_MAX

__all__ = ["Outputs", "Proof", "check_range", "compare_embeddings", "compare_outputs", "largest_difference"]

Outputs = Mapping[str, npt.NDArray[Any]]

# Half of the distance of two neighbouring f16 numbers: relative, and for the smallest ones absolute.
F16_ROUNDING, F16_SMALLEST = 2.0**-11, 2.0**-25


@dataclass(frozen=True)
class Proof:
    """What was compared.

    Attributes:
        samples: How many the sample has.
        difference: The largest one between served scores and the model's own, in f32: what rounding to f16 does to them.
        ids: By feature: how many distinct ids the sample has, and how many of them have a row.
        not_tried: What the sample does not show, in words.
    """

    samples: int
    difference: float
    ids: Mapping[str, tuple[int, int]]
    not_tried: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = ", ".join(f"{name} {found}/{ids}" for name, (ids, found) in self.ids.items())
        open_ends = "".join(f". Not tried: {text}" for text in self.not_tried)
        return (
            f"the served scores of {self.samples} samples are the model's own; rounding embeddings to f16 moves them by at "
            f"most {self.difference:.2g}. Ids of the sample that have a row: {known}{open_ends}"
        )


def compare_outputs(own: Outputs, other: Outputs, tolerance: float, what: str, hint: str) -> None:
    """Raises ExportError that names the first sample whose numbers differ by more than the tolerance, relative above 1."""
    if own.keys() != other.keys():
        raise ExportError(f"{what}: expected the outputs {', '.join(own)}, got {', '.join(other)}. {hint}")
    for name, expected in own.items():
        got = other[name]
        if got.shape != expected.shape:
            raise ExportError(f"{what}: expected `{name}` of shape {expected.shape}, got {got.shape}. {hint}")
        wrong = np.abs(expected - got) > tolerance * np.maximum(1, np.abs(expected))
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            samples = int(wrong.reshape(len(wrong), -1).any(1).sum())
            raise ExportError(
                f"{what}: in sample {place[0]}, the first of {samples} of {len(expected)} that differ, expected "
                f"{expected[place]:.6g}, got {got[place]:.6g} (`{name}`). {hint}"
            )


def largest_difference(own: Outputs, other: Outputs) -> float:
    """Between two models' outputs of the same names and shapes."""
    return max((float(np.abs(own[name] - other[name]).max()) for name in own if own[name].size), default=0.0)


def check_range(features: list[UsedFeature], expected: list[Expected]) -> None:
    """Raises ExportError for embeddings that f16 does not hold."""
    for feature, reference in zip(features, expected, strict=True):
        if (largest := float(np.abs(reference.values).max())) > F16_MAX:
            raise ExportError(
                f"feature `{feature.name}` has embeddings up to {largest:.6g} in the sample, and f16, in which they are "
                f"served, holds at most {F16_MAX:.0f}: scale the table down"
            )


def compare_embeddings(
    features: list[UsedFeature], expected: list[Expected], served: list[npt.NDArray[Any]], problem: str
) -> None:
    """Raises ExportError that names the feature with the largest difference, and its first sample, if one is over rounding."""
    if len(served) != len(expected):
        raise ExportError(f"{problem}: expected {len(expected)} embeddings, got {len(served)}")
    worst: tuple[float, str] | None = None
    for feature, reference, got in zip(features, expected, served, strict=True):
        if got.shape != reference.values.shape:
            raise ExportError(f"{problem}: feature `{feature.name}`: expected shape {reference.values.shape}, got {got.shape}")
        difference = np.abs(reference.values - got)
        bound = (np.abs(reference.values) + reference.slack) * F16_ROUNDING * 1.001 + reference.slack + F16_SMALLEST
        wrong = difference > bound
        if wrong.any() and (worst is None or difference.max() > worst[0]):
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            text = (
                f"{problem}: feature `{feature.name}` differs most, by up to {difference.max():.6g}; first in sample "
                f"{place[0]}, where the table's rows give {reference.values[place]:.6g}, and {got[place]:.6g} came"
            )
            worst = (float(difference.max()), text)
    if worst is not None:
        raise ExportError(worst[1])
