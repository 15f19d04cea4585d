"""A text model asked in this process: that of an archive is loaded, and answers in a form in which two can be compared."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import yaml

from persia.errors import InvalidInput
from persia.text import TextModel, TextSettings
from persia.text.model import Outcome
from persia.text.tasks import best_span, probabilities
from persia.text.tokenizer import Text
from persia.torchserve.archive.compare.agreement import Answers, order_of
from persia.torchserve.archive.contents import open_archive
from persia.torchserve.archive.torch_threads import one_torch_thread

__all__ = ["answers_of", "load_text_model"]


def load_text_model(archive: Path) -> TextModel:
    """As a worker loads it. Raises InvalidInput if the archive has none, other PersiaErrors if it does not load, OSError."""
    contents = open_archive(archive)
    if contents.text_mode is None:
        raise InvalidInput(f"expected an archive of a text model, got {archive} with the handler {contents.handler}")
    with tempfile.TemporaryDirectory(prefix="persia-archive-") as directory, zipfile.ZipFile(archive) as opened:
        opened.extractall(directory)
        config = Path(directory, contents.config_file)
        settings = yaml.safe_load(config.read_bytes()) if contents.config_file else None
        return TextModel.load(
            Path(directory), TextSettings.of_directory(Path(directory), settings), contents.model_file or None
        )


def answers_of(model: TextModel, texts: Sequence[Text]) -> Answers:
    """Raises InvalidInput for a text that the model does not take."""
    with one_torch_thread():
        outcomes = model.answer(texts)
    of_mode = {
        "sequence_classification": _of_classes,
        "token_classification": _of_words,
        "question_answering": _of_spans,
        "text_embedding": _of_embeddings,
    }
    decisions, scores = of_mode[model.mode](model, outcomes)
    return Answers(decisions, scores, [outcome.numbers.reshape(-1) for outcome in outcomes])


_Found = tuple[Sequence[Hashable], np.ndarray]


def _of_classes(model: TextModel, outcomes: Sequence[Outcome]) -> _Found:
    """The best label, or all that hold. Of a number alone it is which of two texts has the greater one."""
    scores = np.stack([probabilities(outcome.numbers[0], model.problem_type) for outcome in outcomes])
    if model.problem_type == "regression" or scores.shape[1] == 1:
        return order_of(scores[:, 0]), scores
    order = np.argsort(model.labels[: scores.shape[1]], kind="stable")  # two models may number their labels in other ways
    names = np.array(model.labels)
    if model.problem_type == "multi_label_classification":
        return [frozenset(names[: scores.shape[1]][row > 0.5].tolist()) for row in scores], scores[:, order]
    return names[scores.argmax(axis=1)].tolist(), scores[:, order]


def _of_words(model: TextModel, outcomes: Sequence[Outcome]) -> _Found:
    """The label of each word is that of its first token."""
    order = np.argsort(model.labels, kind="stable")
    decisions: list[Hashable] = []
    scores = []
    for outcome in outcomes:
        chances = probabilities(outcome.numbers)
        starts = [offset[0] if sequence == 0 else -1 for offset, sequence in _places(outcome)]
        for word in re.finditer(r"\S+", outcome.text.first):
            inside = [i for i, start in enumerate(starts) if word.start() <= start < word.end()]
            # A word that was cut off, or of which the tokenizer keeps nothing, has none: one for any model.
            decisions.append(model.labels[int(chances[inside[0]].argmax())] if inside else None)
            scores.append(chances[inside[0]][order] if inside else np.zeros(len(order)))
    return decisions, np.stack(scores) if scores else np.zeros((0, len(order)))


def _of_spans(model: TextModel, outcomes: Sequence[Outcome]) -> _Found:
    decisions: list[Hashable] = []
    scores = []
    for outcome in outcomes:
        starts, ends = outcome.numbers
        of_context = [sequence == 1 for sequence in outcome.tokens.sequences]
        spans = best_span(starts, ends, of_context, model.settings.max_answer_tokens)
        offsets = outcome.tokens.offsets
        context = outcome.text.second or ""
        decisions.append(context[offsets[spans[0].start][0] : offsets[spans[0].end][1]] if spans else "")
        scores.append([spans[0].score if spans else 0.0])
    return decisions, np.array(scores)


def _of_embeddings(model: TextModel, outcomes: Sequence[Outcome]) -> _Found:
    """Which other text is nearest: embeddings are for searching. The models' vectors may have other sizes."""
    vectors = np.stack([outcome.numbers[0] for outcome in outcomes]).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    alike = vectors @ vectors.T
    others = alike - 4.0 * np.eye(len(vectors))
    return [outcomes[nearest].text.first for nearest in others.argmax(axis=1)], alike


def _places(outcome: Outcome) -> list[tuple[tuple[int, int], int | None]]:
    return list(zip(outcome.tokens.offsets, outcome.tokens.sequences, strict=True))
