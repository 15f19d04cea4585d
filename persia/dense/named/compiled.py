"""Packages of AOTInductor, which tell neither names nor shapes: tensors are `input0`, `input1`, or as the archive declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from persia.dense.compiled import CompiledModel as Package
from persia.open_inference.declared import Declared
from persia.open_inference.tensors import ModelMetadata, Tensor, TensorSpec

from .model import NamedModel, tensors_of_answer, torch_of_tensor

__all__ = ["CompiledModel"]


class CompiledModel(NamedModel):
    def __init__(self, path: Path, device: torch.device, declared: Declared) -> None:
        """Raises InvalidInput if the package was compiled for another machine, and what torch raises."""
        self._package = Package(path, device)
        self._device = device
        inputs = declared.inputs or tuple(TensorSpec(f"input{i}") for i in range(self._package.inputs))
        self.metadata = ModelMetadata("pytorch_aotinductor", inputs, declared.outputs)

    def run(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        values = [torch_of_tensor(tensors[spec.name], self._device) for spec in self.metadata.inputs]
        return tensors_of_answer(self._package(values, []), self.metadata.outputs)
