"""Models of torch.export: the graph that torch.export.save wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.export.passes import move_to_device_pass

from .model import DenseModel, Tensors

__all__ = ["ExportedModel"]


class ExportedModel(DenseModel):
    module: torch.nn.Module

    def __init__(self, path: Path, device: torch.device) -> None:
        """Raises what torch raises if it cannot load the file."""
        program = torch.export.load(path)
        if device.type != "cpu":
            program = move_to_device_pass(program, device)
        self.fixed_batch = fixed_batch(program)
        self.module = program.module()

    def __call__(self, dense: Tensors, embeddings: Tensors) -> Any:
        return self.module(list(dense), list(embeddings))  # a graph is called with what it was exported with


def fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """The first number in the shape of an input, where it is none of the program's free ones."""
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        value = node.meta.get("val") if node.op == "placeholder" and node.name in inputs else None
        if isinstance(value, torch.Tensor) and value.ndim and isinstance(value.shape[0], int):
            return value.shape[0]
    return None
