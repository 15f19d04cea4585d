"""The file of a model in an archive: weights as they are, TorchScript or ONNX, in float32 or int8."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from persia.text.shards import shards_of
from persia.torchserve.archive.quantization import quantize_module
from persia.torchserve.archive.text.conversion import quantize_onnx, write_onnx, write_torchscript
from persia.torchserve.archive.text.folder import TextFolder

__all__ = ["write_model"]

_NAMES = {"torchscript": "traced_model.pt", "onnx": "model.onnx"}


def write_model(model: Any, whole: bool, folder: TextFolder, save_mode: str, quantize: bool, out: Path) -> Path:
    """Writes it into a directory, where config.json may come along. Raises InvalidInput, NotFound, OSError.

    model: transformers' own. whole: all its weights are the folder's. quantize: with int8 layers, but not as `pretrained`.
    """
    if save_mode == "pretrained":
        path = out / folder.weights.name
        if whole:
            for file in (folder.weights, *shards_of(folder.weights)):
                shutil.copy(file, out / file.name)
        else:
            model.save_pretrained(out)
            path = out / "model.safetensors"
    elif save_mode == "torchscript":
        path = out / _NAMES[save_mode]
        write_torchscript(quantize_module(model) if quantize else model, folder.mode, model.config, path)
    else:
        path = out / _NAMES[save_mode]
        write_onnx(model, folder.mode, model.config, path)
        if quantize:
            quantize_onnx(path, out / "int8.onnx")
            os.replace(out / "int8.onnx", path)
    changed = folder.weights.stat().st_mtime
    os.utime(path, (changed, changed))  # which the manifest has: the same folder gives the same archive
    return path
