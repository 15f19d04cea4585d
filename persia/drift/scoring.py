"""How right a model was: labels that people gave, beside what the sample store has of the same answers."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from persia.errors import InvalidInput

from .classifier import area_under_curve
from .samples import RANDOM, UNSURE, confidence_of

__all__ = ["Bin", "Quality", "quality_of", "read_labels"]

_BINS = 10
_YES, _NO = {"1", "true", "yes"}, {"0", "false", "no"}

Labels = Mapping[tuple[str, int], str]


@dataclass(frozen=True)
class Bin:
    """Answers whose score lies between two tenths: their mean score, and the share that was positive, or right."""

    count: int
    score: float
    share: float


@dataclass(frozen=True)
class Quality:
    """Of answers of one kind and one version.

    accuracy: the share that was right; expected: what the model's own confidence says it should be. auc: of two classes only.
    calibration_error: by how much scores and shares of the bins differ, weighted by their counts.
    """

    version: str
    why: str
    count: int
    accuracy: float
    expected: float | None
    auc: float | None
    calibration_error: float | None
    bins: Sequence[Bin]


def read_labels(path: Path) -> dict[tuple[str, int], str]:
    """A .csv with the columns `request` and `label`, and `sample` if requests have several. Raises InvalidInput, OSError."""
    labels: dict[tuple[str, int], str] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if missing := {"request", "label"} - set(reader.fieldnames or ()):
            raise InvalidInput(f"{path}: expected a column {min(missing)!r}, got {', '.join(reader.fieldnames or ['none'])}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            try:
                key = (row["request"], int(row.get("sample") or 0))
            except ValueError:
                raise InvalidInput(f"{where}: expected a number as `sample`, got {row['sample']!r}") from None
            if row["label"] is None or not row["label"].strip():
                continue  # nobody has said yet
            if labels.setdefault(key, row["label"].strip()) != row["label"].strip():
                raise InvalidInput(f"{where}: expected one label for sample {key[1]} of request {key[0]!r}, got two")
    return labels


def quality_of(samples: Iterable[Mapping[str, Any]], labels: Labels, output: str | None = None) -> list[Quality]:
    """Of each version, of the random and the unsure samples. output: the name of the scores, if the model has several outputs.

    Raises InvalidInput if no label is of any of these samples, or is none that the model could have given.
    """
    groups: dict[tuple[str, str], list[tuple[Mapping[str, Any], str]]] = {}
    for sample in samples:
        label = labels.get((str(sample.get("request")), int(sample.get("sample") or 0)))
        if label is not None:
            groups.setdefault((str(sample.get("version")), str(sample.get("why"))), []).append((sample, label))
    if not groups:
        raise InvalidInput(f"expected labels of requests of the sample store, got {len(labels)} labels, none of them of one")
    order = {RANDOM: 0, UNSURE: 1}
    return [
        _quality(version, why, found, output)
        for (version, why), found in sorted(groups.items(), key=lambda item: (item[0][0], order.get(item[0][1], 2)))
    ]


def _quality(version: str, why: str, found: Sequence[tuple[Mapping[str, Any], str]], output: str | None) -> Quality:
    if "label" in found[0][0]:
        right = np.array([sample.get("label") == label for sample, label in found], np.float64)
        confidence = np.array([sample.get("confidence", np.nan) for sample, _ in found], np.float64)
        return _of_right(version, why, right, confidence)
    scores = np.array([_scores(sample, output) for sample, _ in found], np.float64)
    if scores.shape[1] > 1:
        best = scores.argmax(1)
        right = np.array([str(i) == label for i, (_, label) in zip(best.tolist(), found, strict=True)], np.float64)
        return _of_right(version, why, right, confidence_of(scores))
    positive = np.array([_is_positive(label) for _, label in found], np.float64)
    score = scores[:, 0]
    bins, error = _calibration(score, positive) if score.min() >= 0 and score.max() <= 1 else ([], None)
    return Quality(
        version,
        why,
        len(found),
        accuracy=float(((score >= 0.5) == (positive > 0)).mean()),
        expected=float(np.maximum(score, 1 - score).mean()) if error is not None else None,
        auc=area_under_curve(score, positive) if 0 < positive.sum() < len(positive) else None,
        calibration_error=error,
        bins=bins,
    )


def _of_right(version: str, why: str, right: Any, confidence: Any) -> Quality:
    known = confidence is not None and bool(np.isfinite(confidence).all())
    bins, error = _calibration(confidence, right) if known else ([], None)
    expected = float(confidence.mean()) if known else None
    return Quality(version, why, len(right), float(right.mean()), expected, None, error, bins)


def _scores(sample: Mapping[str, Any], output: str | None) -> Sequence[float]:
    outputs = sample.get("outputs") or {}
    name = output if output is not None else next(iter(outputs), None)
    if name not in outputs:
        raise InvalidInput(f"expected one of {', '.join(outputs) or 'no outputs'} as --output, got {output!r}")
    scores: Sequence[float] = outputs[name]
    return scores


def _is_positive(label: str) -> bool:
    word = label.lower().removesuffix(".0")
    if word not in _YES and word not in _NO:
        raise InvalidInput(f"expected 0 or 1 as a label of a model that gives one score, got {label!r}")
    return word in _YES


def _calibration(score: Any, positive: Any) -> tuple[list[Bin], float]:
    places = np.minimum((score * _BINS).astype(np.int64), _BINS - 1)
    bins = []
    for place in range(_BINS):
        inside = places == place
        if inside.any():
            bins.append(Bin(int(inside.sum()), float(score[inside].mean()), float(positive[inside].mean())))
    error = sum(each.count * abs(each.score - each.share) for each in bins) / len(score)
    return bins, float(error)
