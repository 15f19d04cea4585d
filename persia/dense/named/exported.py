"""Models of torch.export: names, datatypes and shapes of their tensors stand in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import InputKind, TensorArgument
from torch.export.passes import move_to_device_pass
from torch.utils._pytree import tree_unflatten

from persia.errors import InvalidInput
from persia.open_inference.declared import Declared
from persia.open_inference.tensors import ModelMetadata, Tensor, TensorSpec

from .model import DATATYPES_OF_TORCH, NamedModel, tensors_of_answer, torch_of_tensor

__all__ = ["ExportedModel"]


class ExportedModel(NamedModel):
    """Tensors in lists and dicts that the graph was exported with have the names that torch.export gives them: `dense_0`."""

    module: torch.nn.Module

    def __init__(self, path: Path, device: torch.device, declared: Declared) -> None:
        """Raises InvalidInput for arguments that are neither tensors nor constants, and what torch raises."""
        program = torch.export.load(path)
        if device.type != "cpu":
            program = move_to_device_pass(program, device)
        self._device = device
        self._declared = declared
        self._in_spec = program.call_spec.in_spec
        shown = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
        self._arguments: list[str | None] = []  # the names of tensors, and None for constants
        self._constants: list[Any] = []
        for one in program.graph_signature.input_specs:
            if one.kind is InputKind.USER_INPUT:
                self._add(path, one.arg)
        inputs = tuple(_spec(name, shown[name]) for name in self._arguments if name is not None)
        self.metadata = ModelMetadata("pytorch_export", inputs, declared.outputs or _outputs(program))
        self.module = program.module()

    def run(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        flat = [
            constant if name is None else torch_of_tensor(tensors[name], self._device)
            for name, constant in zip(self._arguments, self._constants, strict=True)
        ]
        positional, named = tree_unflatten(flat, self._in_spec)
        with torch.inference_mode():
            answer = self.module(*positional, **named)
        return tensors_of_answer(answer, self.metadata.outputs)

    def _add(self, path: Path, argument: Any) -> None:
        is_tensor = isinstance(argument, TensorArgument)
        if not is_tensor and not hasattr(argument, "value"):
            raise InvalidInput(
                f"expected a model of torch.export that takes tensors, got {path.name}, which takes a "
                f"{type(argument).__name__} as {argument.name!r}: give its archive a handler"
            )
        self._arguments.append(argument.name if is_tensor else None)
        self._constants.append(None if is_tensor else argument.value)


def _spec(name: str, value: Any) -> TensorSpec:
    if not isinstance(value, torch.Tensor):
        return TensorSpec(name)
    sizes: Sequence[Any] = value.shape  # numbers, or symbols for those that are free
    shape = tuple(size if isinstance(size, int) else -1 for size in sizes)
    return TensorSpec(name, DATATYPES_OF_TORCH.get(value.dtype, ""), shape)


def _outputs(program: torch.export.ExportedProgram) -> tuple[TensorSpec, ...]:
    """Their names are those that tensors_of_answer() gives the answer that has them."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    names = program.graph_signature.user_outputs
    placeholders = tree_unflatten([torch.empty(0)] * len(names), program.call_spec.out_spec)
    answered = tensors_of_answer(placeholders)
    return tuple(_spec(tensor.name, values.get(name)) for tensor, name in zip(answered, names, strict=True))
