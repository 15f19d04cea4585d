"""Loads the dense half of a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from persia.shared_weights import share_weights

from .compiled import CompiledModel
from .kinds import Kind, kind_of
from .loading_errors import loading_errors
from .model import DenseModel
from .onnx_model import OnnxModel

__all__ = ["Model", "load_dense"]

Model = torch.jit.ScriptModule | DenseModel

_CPU = torch.device("cpu")


def load_dense(path: Path, device: torch.device = _CPU, *, shared: bool = False) -> Model:
    """The model in a file, on a device, ready to be called with dense tensors and embeddings.

    Args:
        path: the file.
        device: where it runs.
        shared: as for share_weights(), of torch's models.

    Raises InvalidInput if the file is no model, or none that loads; NotFound if a package is missing; OSError.
    """
    kind = kind_of(path)
    with loading_errors(kind, path):
        model = _LOADERS[kind](path, device)
        if shared:
            share_weights(model if isinstance(model, torch.jit.ScriptModule) else model.module, path)
    return model


def _load_torchscript(path: Path, device: torch.device) -> Model:
    model: torch.jit.ScriptModule = torch.jit.load(str(path), map_location=device)
    return model.eval()


def _load_exported(path: Path, device: torch.device) -> Model:
    from .exported import ExportedModel  # torch.export takes a second to import

    return ExportedModel(path, device)


_LOADERS: dict[Kind, Callable[[Path, torch.device], Model]] = {
    Kind.TORCHSCRIPT: _load_torchscript,
    Kind.EXPORTED: _load_exported,
    Kind.COMPILED: CompiledModel,
    Kind.ONNX: OnnxModel,
}
