"""How far two models agree: in what they decide, in their scores, and in the direction of their outputs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.errors import InvalidInput

__all__ = ["Agreement", "Answers", "agreement_of", "order_of"]

_Array = npt.NDArray[Any]

# Of more samples than these the order is not compared: their pairs grow with the square.
_ORDERED = 1000


@dataclass(frozen=True)
class Answers:
    """What a model gave for all samples, in a form that another model's can be compared with.

    decisions: what callers act on, such as labels. scores: numbers in a fixed order, such as probabilities by label; empty if
    the model gives none. vectors: for each sample its outputs as they come from the model.
    """

    decisions: Sequence[Hashable]
    scores: _Array
    vectors: Sequence[_Array]


@dataclass(frozen=True)
class Agreement:
    """Distances are between scores, and cosines between outputs: None if these differ in size.

    agreement: the share of decisions that are the same.
    """

    decisions: int
    agreement: float
    mean_distance: float
    max_distance: float
    mean_cosine: float | None
    min_cosine: float | None

    def __str__(self) -> str:
        """Such as `agreement 0.982, cosine 0.991 (least 0.974)`."""
        if self.mean_cosine is None:
            return f"agreement {self.agreement:.3f}"
        return f"agreement {self.agreement:.3f}, cosine {self.mean_cosine:.4f} (least {self.min_cosine:.4f})"


def agreement_of(one: Answers, other: Answers) -> Agreement:
    """Raises InvalidInput if the models do not decide the same things."""
    if len(one.decisions) != len(other.decisions) or one.scores.shape != other.scores.shape or not len(one.decisions):
        raise InvalidInput(
            f"expected as many decisions and scores from both models, got {len(one.decisions)} decisions and scores of shape "
            f"{one.scores.shape} from one, {len(other.decisions)} and {other.scores.shape} from the other"
        )
    same = sum(mine == theirs for mine, theirs in zip(one.decisions, other.decisions, strict=True))
    distances = np.abs(one.scores - other.scores) if one.scores.size else np.zeros(1)
    cosines = _cosines(one.vectors, other.vectors)
    return Agreement(
        decisions=len(one.decisions),
        agreement=same / len(one.decisions),
        mean_distance=float(distances.mean()),
        max_distance=float(distances.max()),
        mean_cosine=float(np.mean(cosines)) if cosines is not None else None,
        min_cosine=float(np.min(cosines)) if cosines is not None else None,
    )


def order_of(scores: _Array) -> list[int]:
    """Of scores that stand for an order only, the decisions are which of two samples comes first: -1, 0 or 1 for each pair."""
    ranked = scores.reshape(-1)[:_ORDERED]
    signs = np.sign(ranked[:, None] - ranked[None, :]).astype(int)
    order: list[int] = signs[np.triu_indices(len(ranked), 1)].tolist()
    return order


def _cosines(one: Sequence[_Array], other: Sequence[_Array]) -> _Array | None:
    """One for each sample; two outputs of zeros only have the same direction."""
    if len(one) != len(other) or any(mine.size != theirs.size for mine, theirs in zip(one, other, strict=True)):
        return None
    cosines = []
    for mine, theirs in zip(one, other, strict=True):
        a, b = mine.reshape(-1).astype(np.float64), theirs.reshape(-1).astype(np.float64)
        length = float(np.linalg.norm(a) * np.linalg.norm(b))
        cosines.append(float(a @ b) / length if length else float(np.array_equal(a, b)))
    return np.array(cosines)
