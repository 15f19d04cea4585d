"""Streams of batches whose ids, dense inputs and scores are drawn from known distributions, and windows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, NonIDTypeFeature, PersiaBatch
from persia.drift.sketching import add_batch
from persia.drift.window import Window
from persia.feature_lookup import FeatureLookup

SAMPLES = 100  # of a batch


@dataclass(frozen=True)
class Stream:
    """shift: of the first dense column, in deviations. new: the share of ids of `user` that are. swap: of the two labels."""

    shift: float = 0.0
    new: float = 0.0
    missing: float = 0.02
    swap: bool = False
    nan: float = 0.0

    def data(self, generator: np.random.Generator) -> bytes:
        """The bytes of a batch."""
        users = np.minimum(generator.zipf(1.3, SAMPLES), 10**7).astype(np.uint64)
        is_new = generator.random(SAMPLES) < self.new
        users[is_new] = generator.integers(10**10, 10**11, int(is_new.sum()), np.uint64)
        tags = [generator.integers(0, 500, count, np.uint64) for count in generator.integers(0, 6, SAMPLES)]
        dense = generator.normal(0, 1, (SAMPLES, 3)).astype(np.float32)
        dense[:, 0] += self.shift
        dense[generator.random(SAMPLES) < self.nan, 2] = np.nan
        features: list[IDTypeFeature | IDTypeFeatureWithSingleID] = [
            IDTypeFeatureWithSingleID("user", users),
            IDTypeFeature("tags", tags),
        ]
        return PersiaBatch(features, [NonIDTypeFeature(dense, "numbers")], requires_grad=False).to_bytes()

    def scores(self, batch: _core.Batch) -> npt.NDArray[np.float32]:
        """What a model says: a probability for each sample, a fifth of them above a half."""
        scores: npt.NDArray[np.float32] = 1 / (1 + np.exp(0.85 - batch.dense[0][:, 1].astype(np.float32)))
        return 1 - scores if self.swap else scores

    def add(self, window: Window, generator: np.random.Generator, batches: int = 10) -> Window:
        """The window, with some batches more."""
        for _ in range(batches):
            batch = _core.decode_batch(self.data(generator))
            add_batch(window, batch, self.lookups(batch, generator), {None: self.scores(batch)}, generator)
        return window

    def windows(self, count: int, generator: np.random.Generator) -> list[Window]:
        return [self.add(Window(float(i), float(i + 1)), generator) for i in range(count)]

    def lookups(self, batch: _core.Batch, generator: np.random.Generator) -> list[FeatureLookup]:
        def one(feature: Any) -> FeatureLookup:
            return FeatureLookup(feature.name, len(feature.ids), int(generator.binomial(len(feature.ids), self.missing)), 0, 0)

        return [one(feature) for feature in batch.features]


USUAL = Stream()
