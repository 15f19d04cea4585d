"""The sample store: some answers of each window, put aside so that people can say which of them were right.

A fair sample of all, and those of which the model was least sure. Files are STATE/MODEL/VERSION/samples-MILLISECONDS-NUMBER-
PROCESS-RANDOM.jsonl, with an object for each: `request`, `sample` (its place in the request), `time`, `version`, `why` (random
or unsure), `outputs` (numbers by the name of the output) or `label`, `confidence`; and only if settings say so, what was asked.
"""

from __future__ import annotations

import heapq
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persia._core import Batch
from persia.errors import CorruptFile
from persia.system.durable import unique_name, write_file

from .sketching import SCORE, Texts, score_columns

__all__ = ["RANDOM", "UNSURE", "Keeping", "SampleStore", "confidence_of", "read_samples"]

RANDOM, UNSURE = "random", "unsure"
_PATTERN = "samples-*.jsonl"
_numbers = itertools.count()
_DAY = 86_400

_Entry = dict[str, Any]


@dataclass(frozen=True)
class Keeping:
    """per_window: as many of either kind. inputs: ids, dense numbers and texts are kept too."""

    per_window: int = 20
    inputs: bool = False
    most_bytes: int = 16 << 20
    days: int = 30


class SampleStore:
    """For one thread."""

    def __init__(
        self,
        directory: Path,
        version: str,
        keeping: Keeping,
        *,
        seed: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._directory, self._version, self._keeping, self._now = directory, version, keeping, now
        self._generator = np.random.default_rng(seed)
        self._order = itertools.count()  # of entries that are equally unsure
        self._kept: dict[str, list[tuple[float, int, _Entry]]] = {RANDOM: [], UNSURE: []}

    def add_batch(self, request: str, batch: Batch, outputs: Mapping[str | None, npt.NDArray[Any]]) -> None:
        """The scores of a request's samples."""
        columns = {name or SCORE: score_columns(np.asarray(scores)) for name, scores in outputs.items()}
        if not columns:
            return
        confidence = next((found for found in map(confidence_of, columns.values()) if found is not None), None)

        def entry(i: int) -> _Entry:
            made: _Entry = {"outputs": {name: scores[i].tolist() for name, scores in columns.items() if i < len(scores)}}
            if self._keeping.inputs:
                made |= _inputs(batch, i)
            return made

        self._choose(request, min(map(len, columns.values())), confidence, entry)

    def add_texts(self, request: Sequence[str], texts: Texts) -> None:
        """request: of each text the id of its request."""

        def entry(i: int) -> _Entry:
            made: _Entry = {"label": str(texts.labels[i])} if len(texts.labels) else {}
            if self._keeping.inputs and len(texts.texts):
                made["text"] = texts.texts[i]
            return made

        confidence = np.asarray(texts.confidences, np.float64) if len(texts.confidences) else None
        self._choose(request, len(texts.tokens), confidence, entry)

    def end_window(self) -> None:
        """Writes what was chosen, and removes what is too old or too much. Raises OSError."""
        kept, self._kept = self._kept, {RANDOM: [], UNSURE: []}
        chosen = {id(entry): {**entry, "why": RANDOM} for _, _, entry in kept[RANDOM]}
        for _, _, entry in kept[UNSURE]:
            chosen.setdefault(id(entry), {**entry, "why": UNSURE})
        if chosen:
            name = f"samples-{round(self._now() * 1000):015d}-{next(_numbers):06d}-{unique_name()}.jsonl"
            self._directory.mkdir(parents=True, exist_ok=True)
            write_file(self._directory / name, b"".join(_line(entry) for entry in chosen.values()))
        self._prune()

    def _choose(
        self,
        request: str | Sequence[str],
        count: int,
        confidence: npt.NDArray[np.floating[Any]] | None,
        entry: Callable[[int], _Entry],
    ) -> None:
        """Of some samples those that belong among the random or the unsure ones, as far as is known by now."""
        draws = self._generator.random(count)
        unsure = confidence if confidence is not None else np.full(count, np.inf)
        wanted = (draws < self._bound(RANDOM)) | (unsure < self._bound(UNSURE))
        for i in np.flatnonzero(wanted).tolist():
            who = request if isinstance(request, str) else request[i]
            place = i if isinstance(request, str) else _place(request, i)
            made = {"request": who, "sample": place, "time": round(self._now(), 3), "version": self._version, **entry(i)}
            if confidence is not None:
                made["confidence"] = round(float(confidence[i]), 6)
                self._keep(UNSURE, float(unsure[i]), made)
            self._keep(RANDOM, float(draws[i]), made)

    def _bound(self, kind: str) -> float:
        """What a sample must be below."""
        kept = self._kept[kind]
        return -kept[0][0] if len(kept) >= self._keeping.per_window else np.inf

    def _keep(self, kind: str, value: float, entry: _Entry) -> None:
        kept, item = self._kept[kind], (-value, next(self._order), entry)
        if len(kept) < self._keeping.per_window:
            heapq.heappush(kept, item)
        elif value < -kept[0][0]:
            heapq.heapreplace(kept, item)

    def _prune(self) -> None:
        room, oldest = self._keeping.most_bytes, self._now() - self._keeping.days * _DAY
        for path in sorted(self._directory.glob(_PATTERN), reverse=True):
            with suppress(FileNotFoundError):  # another worker was first
                room -= path.stat().st_size
                if room < 0 or int(path.name.split("-")[1]) < oldest * 1000:
                    path.unlink()


def confidence_of(scores: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """How sure a model was, of scores (samples, numbers): the largest probability; None for numbers that are none."""
    if not len(scores) or not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1:
        return None
    if scores.shape[1] == 1:
        return np.asarray(np.maximum(scores[:, 0], 1 - scores[:, 0]))
    return np.asarray(scores.max(1)) if np.allclose(scores.sum(1), 1, atol=1e-3) else None


def read_samples(directory: Path) -> Iterator[_Entry]:
    """All entries, by time. Raises CorruptFile, OSError."""
    for path in sorted(directory.glob(_PATTERN)):
        for line, text in enumerate(path.read_bytes().splitlines(), 1):
            try:
                entry = json.loads(text)
                if not isinstance(entry, dict):
                    raise ValueError(f"line {line} is no object")
            except ValueError as error:
                raise CorruptFile(str(path), "an object in JSON on each line", str(error), 0) from None
            yield entry


def _inputs(batch: Batch, i: int) -> _Entry:
    """Of sample i: the ids of each feature, each once, and its dense numbers."""
    ids: dict[str, list[int]] = {}
    for feature in batch.features:
        owners = np.repeat(np.arange(len(feature.ids)), np.diff(feature.offsets))
        ids[feature.name] = feature.ids[owners[feature.positions[:, 0] == i]].tolist()
    dense = {
        name or f"dense{k}": array[i].tolist()
        for k, (name, array) in enumerate(zip(batch.dense_names, batch.dense, strict=True))
    }
    return {"ids": ids, "dense": dense}


def _place(requests: Sequence[str], i: int) -> int:
    """Which text of its request text i is: texts of one request stand together."""
    place = 0
    while i > place and requests[i - place - 1] == requests[i]:
        place += 1
    return place


def _line(entry: _Entry) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"
