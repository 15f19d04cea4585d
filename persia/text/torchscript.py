"""TorchScript traces: of a model with token ids alone, with a mask, or with types of tokens too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from persia.errors import ConfigError
from persia.shared_weights import share_weights
from persia.torch_deprecations import torch_deprecations_ignored
from persia.torch_errors import last_line

from .engines import INPUT_NAMES, Inputs
from .outputs import arrays_of

__all__ = ["TorchScriptEngine"]


class TorchScriptEngine:
    """A traced or scripted model."""

    def __init__(self, module: Any, names: Sequence[str], device: str) -> None:
        self.module = module
        self.names = names
        self.device = device

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> TorchScriptEngine:
        """Raises ConfigError for what is no such model."""
        try:
            with torch_deprecations_ignored():
                module = torch.jit.load(str(path), map_location=device).eval()
            share_weights(module, path)
        except RuntimeError as error:
            raise ConfigError(f"expected a TorchScript model: {last_line(error)}", file=path.name) from error
        arguments = [argument.name for argument in module.forward.schema.arguments[1:]]
        return cls(module, _names_of(arguments, path.name), device)

    @property
    def takes_token_types(self) -> bool:
        return "token_type_ids" in self.names

    def run(self, inputs: Inputs) -> Sequence[np.ndarray]:
        arguments = [torch.from_numpy(inputs[name]).to(self.device) for name in self.names]
        with torch.inference_mode():
            return arrays_of(self.module(*arguments))


def _names_of(arguments: Sequence[str], file: str) -> Sequence[str]:
    """What to call the model with. Where tracing gave the arguments names of its own, their order says what they are."""
    if arguments and all(name in INPUT_NAMES for name in arguments):
        return arguments
    if not 1 <= len(arguments) <= len(INPUT_NAMES):
        got = ", ".join(arguments) or "none"
        raise ConfigError(f"expected a model of one to three inputs ({', '.join(INPUT_NAMES)}), got {got}", file=file)
    return INPUT_NAMES[: len(arguments)]
