"""Whether a dense model takes batches of any size: one that was exported with a fixed batch takes only that of its example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from persia.dense.loading import Model
from persia.errors import InvalidInput
from persia.torchserve.archive.dense.trial import Sample, try_model

__all__ = ["check_batch_sizes"]

# A lone sample, and more of them than most callers send.
_SIZES = (1, 2048)
_MEND = (
    "export it with a free batch: dynamic_shapes=([{0: Dim('batch')}, ...], [{0: Dim('batch')}, ...]) (docs/dense-models.md)"
)

_Outputs = Mapping[str | None, torch.Tensor]


def check_batch_sizes(model: Model, sample: Sample | None, outputs: _Outputs) -> None:
    """Raises InvalidInput if the model takes batches of one size alone.

    sample: what it was tried with, whose rows are repeated; None: only what the model's file says is judged. outputs: what it
    answered.
    """
    fixed: int | None = getattr(model, "fixed_batch", None)
    if fixed is not None:
        raise InvalidInput(f"expected a model that takes any number of samples, got one that takes {fixed} alone: {_MEND}")
    if sample is None:
        return
    for size in _SIZES:
        expected = f"expected a model that takes any number of samples, got one that takes {sample.samples}, and of {size}"
        try:
            answer = try_model(model, resized(sample, size))
        except InvalidInput as error:
            raise InvalidInput(f"{expected} says: {error}. {_MEND}") from error
        for name, output in answer.items():
            rows = tuple(outputs[name].shape[:1]) if name in outputs else ()
            if rows == (sample.samples,) and len(output) != size:
                raise InvalidInput(f"{expected} makes {len(output)} scores{f' as {name!r}' if name else ''}. {_MEND}")


def resized(sample: Sample, size: int) -> Sample:
    """With as many samples, which are the same ones over and over."""
    dense, embeddings = (
        [np.resize(array, (size, *array.shape[1:])) for array in arrays] for arrays in (sample.dense, sample.embeddings)
    )
    return replace(sample, dense=dense, embeddings=embeddings)
