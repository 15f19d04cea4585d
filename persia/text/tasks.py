"""What each kind of model gives, as one array of numbers per text, and what these numbers mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .settings import TextSettings

__all__ = ["Span", "best_span", "numbers_of", "pooled", "probabilities", "shape_problem", "spans_of"]


@dataclass(frozen=True)
class Span:
    """The tokens from start to end, which is the last one, and how probable they are."""

    start: int
    end: int
    score: float


def numbers_of(outputs: Sequence[np.ndarray], mode: str, settings: TextSettings, mask: np.ndarray) -> list[np.ndarray]:
    """For each text a matrix of float32: one row of logits, a row for each token, start and end logits, or one vector."""
    first = outputs[0]
    if mode == "question_answering":
        if len(outputs) == 1 and first.ndim == 3 and first.shape[2] == 2:  # both in one tensor
            outputs = [first[..., 0], first[..., 1]]
        both = np.stack([outputs[0], outputs[1]], axis=1)
        return list(np.ascontiguousarray(both))
    if mode == "text_embedding":
        return [pooled(vectors, kept, settings)[None] for vectors, kept in zip(first, mask, strict=True)]
    return [np.ascontiguousarray(row.reshape(-1, row.shape[-1])) for row in first]


def shape_problem(outputs: Sequence[np.ndarray], mode: str, tokens: int) -> str | None:
    """What is wrong with the outputs for one text, if they are not of the mode."""
    shapes = ", ".join(str(output.shape) for output in outputs)
    first = outputs[0].shape
    if mode == "sequence_classification":
        fits, expected = len(first) == 2 and first[0] == 1, "(1, labels)"
    elif mode == "token_classification":
        fits, expected = len(first) == 3 and first[:2] == (1, tokens), f"(1, {tokens}, labels)"
    elif mode == "question_answering":
        two = len(outputs) >= 2 and first == outputs[1].shape == (1, tokens)
        fits, expected = two or first == (1, tokens, 2), f"twice (1, {tokens})"
    else:
        fits = (len(first) == 3 and first[:2] == (1, tokens)) or (len(first) == 2 and first[0] == 1)
        expected = f"(1, {tokens}, size) or (1, size)"
    return (
        None if fits else f"expected outputs of shape {expected} for one text of {tokens} tokens in mode {mode}, got {shapes}"
    )


def pooled(vectors: np.ndarray, mask: np.ndarray, settings: TextSettings) -> np.ndarray:
    """One vector for a text, of those of its tokens; or the model's own, if it has pooled them already."""
    if vectors.ndim == 1:
        vector = vectors
    elif settings.pooling == "cls":
        vector = vectors[0]
    else:
        vector = vectors[mask.astype(bool)].mean(axis=0)
    if settings.normalize:
        vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return vector.astype(np.float32)


def probabilities(logits: np.ndarray, problem_type: str | None = None) -> np.ndarray:
    """Of the last dimension. Where a text may have several labels, each has one of its own; a regression has plain numbers."""
    wide = logits.astype(np.float64)
    if problem_type == "regression" or logits.shape[-1] == 1:
        return wide
    if problem_type == "multi_label_classification":
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(wide, -500, 500))))
    return _softmax(wide)


def spans_of(numbers: np.ndarray, sequences: Sequence[int | None], settings: TextSettings) -> list[Span]:
    """The answers to a question, the best one first. sequences: which text each token is of, as Tokens has it."""
    starts, ends = numbers
    if settings.qa_span == "example":
        return [_example_span(starts, ends)]
    return best_span(starts, ends, [sequence == 1 for sequence in sequences], settings.max_answer_tokens)


def _example_span(starts: np.ndarray, ends: np.ndarray) -> Span:
    """The example's: start and end each by itself, anywhere in the input. The end may come before the start."""
    start, end = int(starts.argmax()), int(ends.argmax())
    return Span(start, end, float(_softmax(starts)[start] * _softmax(ends)[end]))


def best_span(starts: np.ndarray, ends: np.ndarray, of_context: Sequence[bool], longest: int) -> list[Span]:
    """Spans within the context that do not end before they start, the most probable first: one for each start."""
    inside = np.flatnonzero(np.asarray(of_context))
    if not len(inside):
        return []
    first, last = int(inside[0]), int(inside[-1]) + 1
    start_scores, end_scores = _softmax(starts[first:last]), _softmax(ends[first:last])
    spans = []
    for start, score in enumerate(start_scores):
        end = start + int(end_scores[start : start + longest].argmax())
        spans.append(Span(first + start, first + end, float(score * end_scores[end])))
    return sorted(spans, key=lambda span: (-span.score, span.start))


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Of one number it is 1."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
