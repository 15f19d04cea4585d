"""From what a handler saw to the sketches of a window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from persia._core import Batch, BatchFeature
from persia.feature_lookup import FeatureLookup

from .counts import Labels, MeanVector, Rate
from .ids import Distinct, Heads
from .numbers import Numbers
from .window import Window

__all__ = ["SCORE", "Texts", "add_batch", "add_texts", "score_columns"]

Array = npt.NDArray[Any]

SCORE = "score"  # what an output without a name is called
# Of a wider dense tensor the mean vector and the norm are watched, instead of each column.
MOST_COLUMNS = 64


@dataclass(frozen=True)
class Texts:
    """A batch of texts and what the model said of them, one entry for each text; what is not known is left empty."""

    tokens: Sequence[Sequence[int]]
    labels: Sequence[str] = ()
    confidences: Sequence[float] = ()
    truncated: Sequence[bool] = ()
    vectors: Array | None = None  # (n, width), such as pooled embeddings
    texts: Sequence[str] = ()  # for the sample store alone
    unknown_token: int | None = None


@dataclass
class _Columns:
    """The columns of the rows for the domain classifier."""

    names: list[str] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    def add(self, name: str, values: Array) -> None:
        if len(self.names) < MOST_COLUMNS:
            self.names.append(name)
            self.values.append(np.asarray(values, np.float32))

    def rows(self) -> npt.NDArray[np.float32]:
        return np.stack(self.values, 1) if self.values else np.empty((0, 0), np.float32)


def add_batch(
    window: Window,
    batch: Batch,
    lookups: Iterable[FeatureLookup],
    outputs: Mapping[str | None, Array],
    generator: np.random.Generator,
    pause: Callable[[], object] = lambda: None,
) -> None:
    """A batch of ids and dense inputs, how its ids fared, and the scores; either may be empty.

    pause: is called between features; there, a thread lets those have the interpreter that answer requests.
    """
    columns = _Columns()
    for lookup in lookups:
        window.sketch(Rate, lookup.name, "missing").add(lookup.new_ids, lookup.ids)
    samples = 0
    for feature in batch.features:
        samples = feature.batch_size
        columns.add(feature.name, _add_feature(window, feature))
        pause()
    names = batch.dense_names
    for i, tensor in enumerate(batch.dense):
        samples = len(tensor)
        _add_dense(window, names[i] or f"dense{i}", tensor, columns)
        pause()
    for name, scores in outputs.items():
        _add_scores(window, name or SCORE, np.asarray(scores), columns)
    window.samples += samples
    window.rows.add(columns.names, columns.rows(), generator)


def add_texts(window: Window, texts: Texts, generator: np.random.Generator) -> None:
    """A batch of texts. Tokens are watched as the ids of a feature `token`."""
    columns = _Columns()
    lengths = np.array([len(tokens) for tokens in texts.tokens], np.float32)
    if len(lengths):
        together = np.concatenate([np.asarray(tokens, np.uint64) for tokens in texts.tokens])
        _add_ids(window, "token", *np.unique(together, return_counts=True))
        window.sketch(Numbers, "text", "tokens").add(lengths)
        columns.add("tokens", lengths)
        if texts.unknown_token is not None:
            unknown = int((together == texts.unknown_token).sum())
            window.sketch(Rate, "text", "unknown_tokens").add(unknown, len(together))
    if len(texts.truncated):
        window.sketch(Rate, "text", "truncated").add(sum(texts.truncated), len(texts.truncated))
    if len(texts.labels):
        window.sketch(Labels, "label", "labels").add(list(map(str, texts.labels)))
    if len(texts.confidences):
        confidences = np.asarray(texts.confidences, np.float32)
        window.sketch(Numbers, "label", "confidence").add(confidences)
        columns.add("confidence", confidences)
    if texts.vectors is not None:
        _add_vectors(window, "vector", texts.vectors, columns)
    window.samples += len(texts.tokens)
    window.rows.add(columns.names, columns.rows(), generator)


def score_columns(scores: Array) -> Array:
    """Scores as (samples, numbers of a sample)."""
    return scores.reshape(len(scores), -1).astype(np.float32) if scores.ndim else scores.reshape(1, 1).astype(np.float32)


def _add_feature(window: Window, feature: BatchFeature) -> Array:
    """Returns how many ids each sample has."""
    ids = feature.ids
    _add_ids(window, feature.name, ids, np.diff(feature.offsets.astype(np.int64)))
    per_sample = feature.ids_per_sample
    window.sketch(Numbers, feature.name, "ids_per_sample").add(per_sample)
    window.sketch(Rate, feature.name, "empty").add(int((per_sample == 0).sum()), len(per_sample))
    return per_sample


def _add_ids(window: Window, name: str, ids: npt.NDArray[np.uint64], counts: Array) -> None:
    window.sketch(Heads, name, "heads").add(ids, counts)
    window.sketch(Distinct, name, "new_ids").add(ids)


def _add_dense(window: Window, name: str, tensor: Array, columns: _Columns) -> None:
    values = tensor.reshape(len(tensor), -1).astype(np.float32)
    if values.shape[1] > MOST_COLUMNS:
        _add_vectors(window, name, values, columns)
        return
    for i in range(values.shape[1]):
        subject = name if values.shape[1] == 1 else f"{name}[{i}]"
        window.sketch(Numbers, subject, "values").add(values[:, i])
        columns.add(subject, values[:, i])


def _add_vectors(window: Window, name: str, vectors: Array, columns: _Columns) -> None:
    norms = np.linalg.norm(np.asarray(vectors, np.float64), axis=1)
    window.sketch(MeanVector, name, "direction").add(vectors)
    window.sketch(Numbers, name, "norm").add(norms)
    columns.add(f"{name} norm", norms)


def _add_scores(window: Window, name: str, scores: Array, columns: _Columns) -> None:
    """One number of a sample is a score, and its probability if all are from 0 to 1; several that sum up to 1 are classes."""
    numbers = score_columns(scores)
    if numbers.shape[1] == 1:
        column = numbers[:, 0]
        window.sketch(Numbers, name, "scores").add(column)
        columns.add(name, column)
        if len(column) and column.min() >= 0 and column.max() <= 1:
            _add_classes(window, name, np.stack([1 - column, column], 1))
        return
    if len(numbers) and numbers.min() >= 0 and np.allclose(numbers.sum(1), 1, atol=1e-3):
        _add_classes(window, name, numbers)
        columns.add(f"{name} confidence", numbers.max(1))
        return
    for i in range(min(numbers.shape[1], MOST_COLUMNS)):
        window.sketch(Numbers, f"{name}[{i}]", "scores").add(numbers[:, i])


def _add_classes(window: Window, name: str, probabilities: Array) -> None:
    ordered = np.sort(probabilities, 1)
    logs = np.log(np.maximum(probabilities, 1e-12))
    window.sketch(Numbers, name, "confidence").add(ordered[:, -1])
    window.sketch(Numbers, name, "margin").add(ordered[:, -1] - ordered[:, -2])
    window.sketch(Numbers, name, "entropy").add(-(probabilities * logs).sum(1))
    window.sketch(Labels, name, "labels").add([str(label) for label in probabilities.argmax(1).tolist()])
