"""A dense model is tried before it is packed: does it take what a batch gives it?"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from persia import _core
from persia.config import EmbeddingConfig
from persia.dense.loading import Model
from persia.dense.outputs import named_outputs
from persia.errors import InvalidInput, PersiaError
from persia.npz import read_npz
from persia.routing import make_slots
from persia.routing.lookup import split
from persia.torch_errors import last_line

__all__ = ["Sample", "sample_from_batch", "sample_from_npz", "try_model"]

_Arrays = list[npt.NDArray[Any]]


@dataclass(frozen=True)
class Sample:
    """What a model is tried on. Names are those of the batch; the features of an .npz file have none unless they are given."""

    dense: _Arrays
    embeddings: _Arrays
    dense_names: Sequence[str | None]
    features: Sequence[str] | None

    @property
    def samples(self) -> int:
        """How many samples it has."""
        return len([*self.embeddings, *self.dense][0])


def sample_from_batch(batch: Path, config: EmbeddingConfig, features: Sequence[str] | None = None) -> Sample:
    """Dense tensors of a byte batch, and embeddings of the shapes that its features give, all of them zeros.

    features: the order in which the model takes them, if it is not that of the batch. Raises InvalidInput.
    """
    decoded = _core.decode_batch(batch.read_bytes())
    plan = _core.make_plan(decoded, make_slots(config), 1)
    numbers, shapes = plan.room()
    numbers.fill(0)
    tensors = dict(zip(decoded.feature_names, split(numbers, shapes), strict=True))
    features = decoded.feature_names if features is None else features
    if set(features) != set(tensors):
        raise InvalidInput(
            f"expected the features of the sample, {', '.join(tensors)}, as --features, got {', '.join(features)}"
        )
    return Sample(list(decoded.dense), [tensors[name] for name in features], decoded.dense_names, features)


def sample_from_npz(path: Path, features: Sequence[str] | None = None) -> Sample:
    """The arrays dense0, dense1, ... and emb0, emb1, ... of a file. features: the names of the latter. Raises InvalidInput."""
    arrays = read_npz(path)
    dense, embeddings = ([arrays[f"{prefix}{i}"] for i in _numbers(prefix, arrays)] for prefix in ("dense", "emb"))
    if not dense and not embeddings:
        raise InvalidInput(
            f"expected arrays dense0, dense1, ... and emb0, emb1, ... in {path}, got {', '.join(arrays) or 'none'}"
        )
    if features is not None and len(features) != len(embeddings):
        raise InvalidInput(
            f"expected {len(embeddings)} names in --features, for emb0 to emb{len(embeddings) - 1}, got {len(features)}"
        )
    return Sample(dense, embeddings, [None] * len(dense), features)


def _numbers(prefix: str, names: Collection[str]) -> Iterator[int]:
    """From 0 on, as long as there is such a name."""
    return itertools.takewhile(lambda i: f"{prefix}{i}" in names, itertools.count())


def try_model(model: Model, sample: Sample) -> Mapping[str | None, torch.Tensor]:
    """What the model answers, by name. Raises InvalidInput if it refuses the tensors, or answers no finite numbers."""
    inputs = [[torch.from_numpy(_for_torch(array)) for array in arrays] for arrays in (sample.dense, sample.embeddings)]
    shapes = "; ".join(
        f"{name} {', '.join(f'{array.dtype} {tuple(array.shape)}' for array in arrays) or 'none'}"
        for name, arrays in (("dense", sample.dense), ("embeddings", sample.embeddings))
    )
    try:
        with torch.inference_mode():
            answer = model(*inputs)
    except Exception as error:  # whatever the model's own code raises
        raise InvalidInput(f"the model refuses the sample ({shapes}): {last_line(error)}") from error
    try:
        outputs = named_outputs(answer)
    except PersiaError as error:
        raise InvalidInput(str(error)) from error
    for name, scores in outputs.items():
        if scores.is_floating_point() and not bool(torch.isfinite(scores).all()):
            where = f" as {name!r}" if name is not None else ""
            raise InvalidInput(f"expected finite scores for the sample, got NaN or infinity{where}")
    return outputs


def _for_torch(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As a request's tensors arrive: a bool array as u8."""
    return np.array(array.view(np.uint8) if array.dtype == bool else array)
