"""Opens a model of any kind to be called with tensors by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from persia.dense.kinds import Kind, kind_of
from persia.dense.loading_errors import loading_errors
from persia.open_inference.declared import Declared
from persia.shared_weights import share_weights

from .model import NamedModel

__all__ = ["load_named"]


def load_named(path: Path, device: torch.device, declared: Declared, *, shared: bool = False) -> NamedModel:
    """shared: as for share_weights(), of torch's models.

    Raises InvalidInput if the file is no model, or none that loads; NotFound if a package is missing; OSError.
    """
    kind = kind_of(path)
    with loading_errors(kind, path):
        model = _LOADERS[kind](path, device, declared)
        if shared:
            share_weights(model.module, path)
    return model


def _scripted(path: Path, device: torch.device, declared: Declared) -> NamedModel:
    from .scripted import ScriptedModel

    return ScriptedModel(path, device, declared)


def _exported(path: Path, device: torch.device, declared: Declared) -> NamedModel:
    from .exported import ExportedModel  # torch.export takes a second to import

    return ExportedModel(path, device, declared)


def _compiled(path: Path, device: torch.device, declared: Declared) -> NamedModel:
    from .compiled import CompiledModel

    return CompiledModel(path, device, declared)


def _onnx(path: Path, device: torch.device, declared: Declared) -> NamedModel:
    from .onnx import OnnxModel

    return OnnxModel(path, device, declared)


_LOADERS: dict[Kind, Callable[[Path, torch.device, Declared], NamedModel]] = {
    Kind.TORCHSCRIPT: _scripted,
    Kind.EXPORTED: _exported,
    Kind.COMPILED: _compiled,
    Kind.ONNX: _onnx,
}
