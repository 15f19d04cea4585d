"""What a text model's handler tells the watch for drift (persia.drift) of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from persia.drift.sketching import Texts
from persia.errors import PersiaError

from .batch import Answered
from .model import Outcome, TextModel
from .tasks import best_span, probabilities

if TYPE_CHECKING:
    from persia.drift.watch import DriftWatch

__all__ = ["texts_of", "watch_texts"]


def watch_texts(
    watch: DriftWatch, model: TextModel, requests: Sequence[str], answers: Sequence[Answered | PersiaError]
) -> None:
    """Of the requests of a batch their ids, and what each was answered. Explanations and refusals are left out."""
    names: list[str] = []
    outcomes: list[Outcome] = []
    for request, answered in zip(requests, answers, strict=True):
        if isinstance(answered, Answered):
            names += [request] * len(answered.outcomes)
            outcomes += answered.outcomes
    if watch.wants(len(outcomes)):
        watch.saw_texts(names, partial(texts_of, model, outcomes))


def texts_of(model: TextModel, outcomes: Sequence[Outcome]) -> Texts:
    """What there is to watch of some answers, one or more."""
    labels, confidences = zip(*(_said(model, outcome) for outcome in outcomes), strict=True)
    is_embedding = model.mode == "text_embedding"
    return Texts(
        tokens=[_own_tokens(outcome) for outcome in outcomes],
        labels=labels if model.mode == "sequence_classification" else (),
        confidences=() if is_embedding else confidences,
        truncated=[outcome.tokens.left_out > 0 for outcome in outcomes],
        vectors=np.stack([outcome.numbers[0] for outcome in outcomes]) if is_embedding else None,
        texts=[" ".join(filter(None, (outcome.text.first, outcome.text.second))) for outcome in outcomes],
        unknown_token=_unknown_token(model),
    )


def _own_tokens(outcome: Outcome) -> list[int]:
    """Without special tokens, which are the same in each text, and paddings."""
    tokens = outcome.tokens
    return [token for token, sequence in zip(tokens.ids, tokens.sequences, strict=True) if sequence is not None]


def _said(model: TextModel, outcome: Outcome) -> tuple[str, float]:
    """The label, and how sure the model is of it: of an answer in the text the span's probability, of tokens their mean."""
    numbers = outcome.numbers
    if model.mode == "question_answering":
        starts, ends = numbers
        of_context = [sequence == 1 for sequence in outcome.tokens.sequences]
        spans = best_span(starts, ends, of_context, model.settings.max_answer_tokens)
        return "", spans[0].score if spans else 0.0
    if model.mode == "text_embedding":
        return "", 0.0
    best = probabilities(numbers, model.problem_type).max(axis=-1)
    label = model.labels[int(numbers[0].argmax())] if model.mode == "sequence_classification" else ""
    return label, float(best.mean())


def _unknown_token(model: TextModel) -> int | None:
    backend = model.tokenizer.backend
    word = getattr(backend.model, "unk_token", None)
    found: int | None = backend.token_to_id(word) if word else None
    return found
