"""What a dense model answers, asked in this process: that of an archive, and in a form in which two models can be compared."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from persia.dense.loading import Model, load_dense
from persia.dense.onnx_file import weight_files
from persia.errors import InvalidInput
from persia.tensors import device_of, to_tensors
from persia.torch_errors import last_line
from persia.torchserve.archive.compare.agreement import Answers, order_of
from persia.torchserve.archive.contents import open_archive

__all__ = ["answers_of_outputs", "load_model_of", "scores_of"]

_Arrays = Sequence[npt.NDArray[Any]]


def load_model_of(archive: Path) -> Model:
    """Raises InvalidInput if the archive has no dense model, or one that does not load; CorruptFile, OSError."""
    name = open_archive(archive).model_file
    if not name:
        raise InvalidInput("the archive has no model file")
    with tempfile.TemporaryDirectory(prefix="persia-check-") as directory, zipfile.ZipFile(archive) as opened:
        model = Path(opened.extract(name, directory))
        opened.extractall(directory, weight_files(model))
        return load_dense(model)


def scores_of(archive: Path, dense: _Arrays, embeddings: _Arrays) -> list[npt.NDArray[Any]]:
    """What the model answers, one array for each output. Raises InvalidInput, also if it refuses the tensors."""
    model = load_model_of(archive)
    cpu = device_of(None)
    try:
        with torch.inference_mode():
            answer = model(to_tensors(dense, cpu), to_tensors(embeddings, cpu))
    except Exception as error:  # whatever the model's own code raises
        shapes = "; ".join(
            f"{name} {', '.join(f'{array.dtype} {tuple(array.shape)}' for array in arrays) or 'none'}"
            for name, arrays in (("dense", dense), ("embeddings", embeddings))
        )
        raise InvalidInput(f"the model refuses the sample ({shapes}): {last_line(error)}") from error
    outputs = list(answer.values()) if isinstance(answer, Mapping) else answer
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    if not all(isinstance(output, torch.Tensor) for output in outputs):
        raise InvalidInput(f"expected tensors of scores from the model, got {type(answer).__name__}")
    return [np.asarray(output.detach().float().numpy()) for output in outputs]


def answers_of_outputs(outputs: Mapping[str | None, torch.Tensor]) -> Answers:
    """Of one number a sample, what counts is the order of the samples; of several, which one is the greatest."""
    decisions: list[int] = []
    numbers = []
    for output in outputs.values():
        array = output.detach().float().cpu().numpy()
        rows = array.reshape(len(array) if array.ndim else 1, -1)
        decisions += order_of(rows) if rows.shape[1] == 1 else rows.argmax(axis=1).tolist()
        numbers.append(rows.reshape(-1))
    return Answers(decisions or [0], np.concatenate(numbers), numbers)
