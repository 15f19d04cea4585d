"""Loads the dense half of a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from persia.errors import InvalidInput, PersiaError

from .compiled import CompiledModel
from .kinds import Kind, kind_of
from .model import DenseModel
from .onnx_model import OnnxModel

__all__ = ["Model", "load_dense"]

Model = torch.jit.ScriptModule | DenseModel

_CPU = torch.device("cpu")


def load_dense(path: Path, device: torch.device = _CPU) -> Model:
    """The model in a file, on a device, ready to be called with dense tensors and embeddings.

    Raises InvalidInput if the file is no model, or none that loads; NotFound if a package is missing; OSError.
    """
    kind = kind_of(path)
    load = _LOADERS[kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is, and is what Persia's users have
            return load(path, device)
    except PersiaError:
        raise
    except Exception as error:  # torch raises RuntimeError, ValueError and others; ONNX Runtime has its own
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise InvalidInput(f"{path} is a model of {kind.value}, which does not load: {reason}") from error


def _load_torchscript(path: Path, device: torch.device) -> Model:
    model: torch.jit.ScriptModule = torch.jit.load(str(path), map_location=device)
    return model.eval()


def _load_exported(path: Path, device: torch.device) -> Model:
    from .exported import ExportedModel  # torch.export takes a second to import

    return ExportedModel(path, device)


_LOADERS: dict[Kind, Callable[[Path, torch.device], Any]] = {
    Kind.TORCHSCRIPT: _load_torchscript,
    Kind.EXPORTED: _load_exported,
    Kind.COMPILED: CompiledModel,
    Kind.ONNX: OnnxModel,
}
