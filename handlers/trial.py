"""A dense model is tried before it is packed: does it load, and does it take what a batch gives it?"""

from __future__ import annotations

import itertools
import warnings
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from persia import _core
from persia.config import load_embedding_config
from persia.errors import InvalidInput
from persia.npz import read_npz
from persia.routing import make_slots
from persia.routing.lookup import split

__all__ = ["load_model", "sample_from_batch", "sample_from_npz", "try_model"]

_Arrays = list[npt.NDArray[Any]]


def load_model(path: Path) -> torch.jit.ScriptModule:
    """The TorchScript model in a file. Raises InvalidInput if it is something else, OSError."""
    with path.open("rb"):
        pass  # else torch's own error, which does not name the file
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is, and is what Persia's users have
            model: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:  # torch raises RuntimeError, ValueError and others
        kind = "a zip file" if zipfile.is_zipfile(path) else "no zip file"
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise InvalidInput(
            f"expected TorchScript, as torch.jit.script(model).save(...) writes it, got {path} ({kind}): {reason}"
        ) from error
    return model


def sample_from_batch(batch: Path, embedding_config: Path) -> tuple[_Arrays, _Arrays]:
    """Dense tensors of a byte batch, and embeddings of the shapes that its features give, all of them zeros."""
    decoded = _core.decode_batch(batch.read_bytes())
    plan = _core.make_plan(decoded, make_slots(load_embedding_config(embedding_config)), 1)
    numbers, shapes = plan.room()
    numbers.fill(0)
    return list(decoded.dense), split(numbers, shapes)


def sample_from_npz(path: Path) -> tuple[_Arrays, _Arrays]:
    """The arrays dense0, dense1, ... and emb0, emb1, ... of a file."""
    arrays = read_npz(path)
    dense, embeddings = ([arrays[f"{prefix}{i}"] for i in _numbers(prefix, arrays)] for prefix in ("dense", "emb"))
    if not dense and not embeddings:
        raise InvalidInput(
            f"expected arrays dense0, dense1, ... and emb0, emb1, ... in {path}, got {', '.join(arrays) or 'none'}"
        )
    return dense, embeddings


def _numbers(prefix: str, names: Collection[str]) -> Iterator[int]:
    """From 0 on, as long as there is such a name."""
    return itertools.takewhile(lambda i: f"{prefix}{i}" in names, itertools.count())


def try_model(model: torch.jit.ScriptModule, dense: _Arrays, embeddings: _Arrays) -> tuple[int, ...]:
    """The shape of what the model answers. Raises InvalidInput if it refuses the tensors, or answers no finite numbers."""
    inputs = [[torch.from_numpy(np.array(array)) for array in arrays] for arrays in (dense, embeddings)]
    shapes = "; ".join(
        f"{name} {', '.join(f'{array.dtype} {tuple(array.shape)}' for array in arrays) or 'none'}"
        for name, arrays in (("dense", dense), ("embeddings", embeddings))
    )
    try:
        with torch.inference_mode():
            scores = model(*inputs)
    except Exception as error:  # whatever the model's own code raises
        raise InvalidInput(f"the model refuses the sample ({shapes}): {str(error).strip().splitlines()[-1]}") from error
    if not isinstance(scores, torch.Tensor):
        raise InvalidInput(f"expected a tensor of scores from the model, got {type(scores).__name__}")
    if scores.is_floating_point() and not bool(torch.isfinite(scores).all()):
        raise InvalidInput("expected finite scores for the sample, got NaN or infinity")
    return tuple(scores.shape)
