"""TorchScript: its tensors have the names of the arguments of `forward`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from persia.errors import InvalidInput
from persia.open_inference.declared import Declared
from persia.open_inference.tensors import ModelMetadata, Tensor, TensorSpec

from .model import NamedModel, tensors_of_answer, torch_of_tensor

__all__ = ["ScriptedModel"]

_TENSOR, _OPTIONAL, _LIST = "Tensor", "Optional[Tensor]", "List[Tensor]"
_NUMBERS: Mapping[str, Callable[[Any], Any]] = {"int": int, "float": float, "bool": bool}


class _Argument(NamedTuple):
    name: str
    kind: str
    optional: bool


class ScriptedModel(NamedModel):
    """TorchScript tells names alone: datatypes and shapes are those that the archive declares, or anything."""

    module: Any

    def __init__(self, path: Path, device: torch.device, declared: Declared) -> None:
        """Raises InvalidInput for a `forward` that takes what is no tensor, and what torch raises."""
        self.module = torch.jit.load(str(path), map_location=device).eval()
        self._device = device
        self._arguments = [_argument(path, one) for one in self.module.forward.schema.arguments[1:]]
        self._declared = declared
        self.metadata = ModelMetadata("pytorch_torchscript", self._inputs(path), declared.outputs)

    def run(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        values = {one.name: self._value(one, tensors) for one in self._arguments if not _has_default(one, tensors)}
        with torch.inference_mode():
            answer = self.module(**values)
        return tensors_of_answer(answer, self._declared.outputs)

    def expected(self, tensors: Sequence[Tensor]) -> ModelMetadata:
        """Lists are as long as the caller has tensors for them, where the archive declares none."""
        if self._declared.inputs:
            return self.metadata
        known = {spec.name for spec in self.metadata.inputs}
        more = tuple(
            TensorSpec(tensor.name)
            for tensor in tensors
            if tensor.name not in known and any(_is_of_list(tensor.name, one) for one in self._arguments)
        )
        return replace(self.metadata, inputs=self.metadata.inputs + more)

    def _inputs(self, path: Path) -> tuple[TensorSpec, ...]:
        """Those that are declared; else those of the arguments, of a list the first one."""
        for spec in self._declared.inputs:
            if not any(spec.name == one.name or _is_of_list(spec.name, one) for one in self._arguments):
                raise InvalidInput(
                    f"{path.name} takes no tensor {spec.name!r}, which model-config.yaml declares: expected "
                    f"{', '.join(one.name for one in self._arguments)}, as the arguments of its `forward` are called"
                )
        return self._declared.inputs or tuple(
            TensorSpec(f"{one.name}_0" if one.kind == _LIST else one.name, optional=one.optional) for one in self._arguments
        )

    def _value(self, argument: _Argument, tensors: Mapping[str, Tensor]) -> Any:
        if argument.kind == _LIST:
            return _listed(argument.name, tensors, self._device)
        if argument.name not in tensors:
            return None
        tensor = tensors[argument.name]
        if argument.kind not in _NUMBERS:
            return torch_of_tensor(tensor, self._device)
        if tensor.array.size != 1:
            raise InvalidInput(f"the tensor {tensor.name!r}: expected one element, got the shape {list(tensor.shape)}")
        return _NUMBERS[argument.kind](tensor.values.reshape(-1)[0])


def _argument(path: Path, argument: Any) -> _Argument:
    kind = str(argument.type)
    if kind not in (_TENSOR, _OPTIONAL, _LIST, *_NUMBERS):
        raise InvalidInput(
            f"expected a TorchScript model whose `forward` takes tensors, lists of tensors and numbers, got {path.name}, "
            f"which takes {kind} as {argument.name!r}: give its archive a handler"
        )
    return _Argument(argument.name, kind, argument.has_default_value() or kind in (_OPTIONAL, _LIST))


def _has_default(argument: _Argument, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the model goes without a number that the caller does not send."""
    return argument.optional and argument.kind in _NUMBERS and argument.name not in tensors


def _is_of_list(name: str, argument: _Argument) -> bool:
    before, _, number = name.rpartition("_")
    return argument.kind == _LIST and before == argument.name and number.isdigit()


def _listed(name: str, tensors: Mapping[str, Tensor], device: torch.device) -> list[torch.Tensor]:
    """`name_0`, `name_1` and so on, as many as there are."""
    found: list[torch.Tensor] = []
    while (tensor := tensors.get(f"{name}_{len(found)}")) is not None:
        found.append(torch_of_tensor(tensor, device))
    if unused := [
        other for other in tensors if other.rpartition("_")[0] == name and int(other.rpartition("_")[2]) >= len(found)
    ]:
        raise InvalidInput(f"the tensor '{name}_{len(found)}' is missing: expected it before {unused[0]!r}")
    return found
