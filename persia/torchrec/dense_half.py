"""The dense half of a model of TorchRec: everything but its tables, as a module that takes tensors only."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, no_type_check

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning
from torchrec.sparse.jagged_tensor import KeyedTensor

from persia.torch_deprecations import torch_deprecations_ignored

from .collections import Collection

__all__ = ["WAYS", "Inputs", "WithoutTables"]

Half = Callable[[list[Tensor], list[Tensor]], Any]  # (dense, embeddings) -> scores
Inputs = tuple[list[Tensor], list[Tensor]]


class _DlrmParts(nn.Module):
    """Of DLRM and of DLRM_Projection. It is simple enough for TorchScript, which then keeps what depends on the batch."""

    def __init__(self, model: Any, output: nn.Module) -> None:
        super().__init__()
        self.dense_arch, self.inter_arch, self.over_arch = model.dense_arch, model.inter_arch, model.over_arch
        self.output = output

    def forward(self, dense: list[Tensor], embeddings: list[Tensor]) -> Tensor:
        sparse = torch.stack([embedding.float() for embedding in embeddings], 1)
        scores: Tensor = self.output(self.over_arch(self.inter_arch(self.dense_arch(dense[0]), sparse)))
        return scores


class _LookedUp(nn.Module):
    """Stands in the place of a collection, and gives what was looked up, whatever ids it is asked for."""

    def __init__(self, collection: Collection) -> None:
        super().__init__()
        self._names = [slot.name for slot in collection.slots]
        self._dims = [slot.dim for slot in collection.slots]
        self.embeddings: list[Tensor] = []

    def forward(self, features: Any) -> Any:
        return KeyedTensor(self._names, self._dims, torch.cat([embedding.float() for embedding in self.embeddings], 1))


class _WithoutDense(nn.Module):
    """A trace, which cannot take an empty list."""

    def __init__(self, trace: nn.Module) -> None:
        super().__init__()
        self.trace = trace

    @no_type_check  # TorchScript finds out what the trace answers, and takes no comment here
    def forward(self, dense: list[Tensor], embeddings: list[Tensor]):
        return self.trace(embeddings)


class _Embedded(nn.Module):
    """A model without dense tensors, to be traced."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, embeddings: list[Tensor]) -> Any:
        return self.whole([], embeddings)


class WithoutTables(nn.Module):
    """The model as it is, without its tables. Its own code runs, so TorchScript cannot take it, and a trace can."""

    def __init__(
        self, model: nn.Module, collections: Sequence[Collection], arguments: Sequence[Any], output: nn.Module
    ) -> None:
        super().__init__()
        self._collections = [_LookedUp(collection) for collection in collections]
        self._counts = [len(collection.slots) for collection in collections]
        places = {id(one.module): given for one, given in zip(collections, self._collections, strict=True)}
        self.model = copy.deepcopy(model, places)  # which then copies no table
        self.output = output
        self._arguments = list(arguments)
        self.eval()

    def forward(self, dense: list[Tensor], embeddings: list[Tensor]) -> Any:
        first = 0
        for given, count in zip(self._collections, self._counts, strict=True):
            given.embeddings = embeddings[first : first + count]
            first += count
        tensors = iter(dense)
        scores = self.model(*(next(tensors) if isinstance(one, Tensor) else one for one in self._arguments))
        return self.output(scores)


def _scripted(model: nn.Module, whole: WithoutTables, _: Inputs) -> Half:
    """Raises whatever TorchScript raises, and AttributeError if the model is no DLRM."""
    with torch_deprecations_ignored():
        half: Half = torch.jit.script(copy.deepcopy(_DlrmParts(model, whole.output)).eval())
    return half


def _traced(model: nn.Module, whole: WithoutTables, inputs: Inputs) -> Half:
    """Raises whatever the trace raises, and ValueError if it calls operators that no server without FBGEMM has."""
    with torch_deprecations_ignored(), torch.no_grad():
        warnings.simplefilter("ignore", TracerWarning)  # the proof tries what a trace warns of
        if inputs[0]:
            half = torch.jit.trace(whole, inputs, check_trace=False, strict=False)
        else:
            alone = torch.jit.trace(_Embedded(whole), inputs[1:], check_trace=False, strict=False)
            half = torch.jit.script(_WithoutDense(alone))
    foreign = {space for space in re.findall(r" = (\w+)::", str(half.inlined_graph)) if space not in ("aten", "prim")}
    if foreign:
        raise ValueError(f"it calls operators of {', '.join(sorted(foreign))}, which a server does not have")
    result: Half = half
    return result


def _exported(model: nn.Module, whole: WithoutTables, inputs: Inputs) -> torch.export.ExportedProgram:
    """Raises whatever torch.export raises."""
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        return torch.export.export(whole, inputs, dynamic_shapes=tuple([{0: batch}] * len(tensors) for tensors in inputs))


WAYS: dict[str, Callable[[nn.Module, WithoutTables, Inputs], Any]] = {
    "scripted": _scripted,
    "traced": _traced,
    "exported": _exported,
}
