"""What a model's own tables give while its forward runs: to name the feature when the model and its export differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .features import UsedFeature
from .sample import Expected

__all__ = ["Recorded", "different_feature", "recorded"]

Recorded = dict[torch.nn.Module, list[npt.NDArray[np.float64]]]


@contextmanager
def recorded(features: list[UsedFeature]) -> Iterator[Recorded]:
    """What each table that is a module of the model gives, call by call."""
    outputs: Recorded = {}

    def keep(module: torch.nn.Module, _: Any, output: torch.Tensor) -> None:
        outputs.setdefault(module, []).append(output.detach().cpu().double().numpy())

    modules = {feature.module for feature in features if feature.module is not None}
    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def different_feature(features: list[UsedFeature], expected: list[Expected], outputs: Recorded, tolerance: float) -> str:
    """The feature for which the model looked up most different rows, in words; empty if there is none that can be told."""
    found: tuple[float, str] = (0.0, "")
    for feature, reference in zip(features, expected, strict=True):
        values = reference.values[..., :-1] if feature.pooling == "raw" else reference.values
        calls = [] if feature.module is None else outputs.get(feature.module, [])
        # A table may be called for several features, and only the nearest call can be this one's.
        same = [output.reshape(values.shape) for output in calls if output.size == values.size]
        nearest = min((np.abs(values - output) for output in same), key=np.max, default=None)
        if nearest is not None and nearest.max() > max(tolerance, found[0]):
            sample = int(np.argwhere(nearest > tolerance)[0][0])
            found = (
                float(nearest.max()),
                f"For feature `{feature.name}` the model looks up other rows than the sample's ids have, first in sample "
                f"{sample} (by up to {nearest.max():.6g}): do `inputs` and `sample` describe the same samples, does `ids` "
                "name the id of each row, has `sample` no ids of padding, and is the pooling (mean, sum, weights) the model's?",
            )
    return found[1]
