"""What PersiaHandler tells its DriftWatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .outputs import named_outputs

if TYPE_CHECKING:
    from persia.drift.watch import DriftWatch

__all__ = ["watch_answers"]


def watch_answers(watch: DriftWatch, features: Sequence[Any], answers: Sequence[Any]) -> None:
    """Of some requests their features, and what the model answered. Features of a subclass, without a lookup, are left out."""
    for each, answer in zip(features, answers, strict=False):
        lookup = getattr(each, "lookup", None)
        if lookup is not None:
            watch.saw_batch(lookup, partial(_arrays, answer))


def _arrays(answer: Any) -> Mapping[str | None, Any]:
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in named_outputs(answer).items()}
