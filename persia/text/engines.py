"""Model files -> an Engine, which takes token ids. Which kind a file is of is read from its content: users name them freely."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from persia.errors import ConfigError, NotFound

__all__ = ["Engine", "Inputs", "kind_of", "load_engine"]

# Arrays of the shape (texts, tokens), by the names that transformers gives them.
Inputs = Mapping[str, np.ndarray]

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")


class Engine(Protocol):
    """Something that runs a model."""

    @property
    def takes_token_types(self) -> bool:
        """Whether the model can tell the two texts of a pair apart."""
        ...

    def run(self, inputs: Inputs) -> Sequence[np.ndarray]:
        """The model's outputs, each with the texts as the first dimension."""
        ...


def kind_of(path: Path) -> str:
    """`torchscript`, `pt2`, `onnx` or `pretrained`, which is a state_dict in any of its formats. Raises OSError."""
    if path.suffix == ".onnx":
        return "onnx"
    if not zipfile.is_zipfile(path):  # safetensors, and what torch wrote before 1.6
        return "pretrained"
    with zipfile.ZipFile(path) as opened:
        inside = {name.partition("/")[2] for name in opened.namelist()}
    if any(name.startswith("code/") for name in inside):
        return "torchscript"
    return "pretrained" if "data.pkl" in inside else "pt2"


def load_engine(path: Path, mode: str, config: Mapping[str, Any], device: str = "cpu", threads: int = 1) -> Engine:
    """config: what config.json says; weights alone do not say what they are of. Raises NotFound, ConfigError, OSError."""
    if not path.is_file():
        raise NotFound(f"expected the model's weights as {path}, which is not there")
    kind = kind_of(path)
    if kind == "torchscript":
        from .torchscript import TorchScriptEngine

        return TorchScriptEngine.load(path, device)
    if kind == "onnx":
        from .onnx_models import OnnxEngine

        return OnnxEngine.load(path, threads)
    if kind == "pt2":
        from .exported import ExportedEngine

        return ExportedEngine.load(path, device)
    if not config:
        raise ConfigError(
            f"expected config.json beside {path.name}, which holds weights alone: add the config.json that save_pretrained "
            "wrote to the archive (--extra-files)",
            file="config.json",
        )
    from .pretrained import PretrainedEngine

    return PretrainedEngine.load(path, mode, config, device)
