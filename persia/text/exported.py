"""Programs of torch.export (.pt2), dynamic in the number of texts and of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from persia.errors import ConfigError

from .engines import INPUT_NAMES, Inputs
from .outputs import arrays_of

__all__ = ["ExportedEngine"]


class ExportedEngine:
    """A program that torch.export.save wrote."""

    def __init__(self, program: Any, file: str, device: str) -> None:
        self.names = list(program.graph_signature.user_inputs)
        if not self.names or not all(name in INPUT_NAMES for name in self.names):
            raise ConfigError(
                f"expected inputs named {', '.join(INPUT_NAMES)}, got {', '.join(self.names) or 'none'}", file=file
            )
        self.module = program.module().to(device)
        given = program.example_inputs
        self.positional = len(given[0]) if given is not None else len(self.names)
        self.device = device

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> ExportedEngine:
        """Raises ConfigError."""
        try:
            program = torch.export.load(str(path))
        except Exception as error:  # of many kinds, as the format has many parts
            raise ConfigError(f"expected a program of torch.export.save: {error}", file=path.name) from error
        return cls(program, path.name, device)

    @property
    def takes_token_types(self) -> bool:
        return "token_type_ids" in self.names

    def run(self, inputs: Inputs) -> Sequence[np.ndarray]:
        arguments = {name: torch.from_numpy(inputs[name]).to(self.device) for name in self.names}
        named = {name: arguments[name] for name in self.names[self.positional :]}
        with torch.inference_mode():
            return arrays_of(self.module(*list(arguments.values())[: self.positional], **named))
