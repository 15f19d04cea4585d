"""From files of samples to the windows of a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persia._core import Batch, decode_batch
from persia.drift.sketching import add_batch
from persia.drift.window import Window
from persia.feature_lookup import FeatureLookup

from .inputs import Reading, read_inputs
from .predict import Client

__all__ = ["Answers", "windows_of_files"]

_SEED = 0  # the same files make the same baseline


class Answers:
    """What a served model says of a batch: scores, and how the ids of each feature fared."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def of(self, batch: bytes) -> tuple[Sequence[FeatureLookup], Mapping[str | None, Any]]:
        """Raises PersiaError."""
        answer = self._client.predict(batch, details=True)
        features = answer.details.features if answer.details is not None else {}
        lookups = [FeatureLookup(name, each.ids, each.new_ids, each.wrong_dim, each.cut) for name, each in features.items()]
        return lookups, answer.scores if isinstance(answer.scores, dict) else {None: answer.scores}


def windows_of_files(
    paths: Sequence[Path], batch_size: int, reading: Reading, window_samples: int, answers: Answers | None
) -> list[Window]:
    """Windows of so many samples, in the order of the files; the last one has what is left. Raises PersiaError, OSError."""
    generator = np.random.default_rng(_SEED)
    windows = [Window()]
    for data in _batches(paths, batch_size, reading):
        batch: Batch = decode_batch(data)
        lookups, scores = answers.of(data) if answers is not None else ((), {})
        if windows[-1].samples >= window_samples:
            windows.append(Window())
        add_batch(windows[-1], batch, lookups, scores, generator)
    return windows


def _batches(paths: Sequence[Path], batch_size: int, reading: Reading) -> Iterator[bytes]:
    for path in paths:
        yield from read_inputs(path, batch_size, reading).batches
