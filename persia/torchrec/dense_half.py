"""The dense half of a model of TorchRec: everything but its tables, as a module that takes tensors only."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, no_type_check

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning
from torchrec.sparse.jagged_tensor import KeyedTensor

from persia.torch_deprecations import torch_deprecations_ignored

from .collections import Collection
from .jagged import ServedSequences, WithoutFbgemm

__all__ = ["WAYS", "Inputs", "WithoutTables"]

Half = Callable[[list[Tensor], list[Tensor]], Any]  # (dense, embeddings) -> scores
Inputs = tuple[list[Tensor], list[Tensor]]

_NO_GRAPH = torch.fx.Graph()


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
    """Stands in the place of a collection, and gives what was looked up, whatever ids it is asked for.

    lengths: the dtype of the lengths of sequences, which is that of the ids' lengths.
    """

    def __init__(self, collection: Collection, lengths: torch.dtype) -> None:
        super().__init__()
        self._names = [slot.embedding for slot in collection.slots]
        self._dims = [slot.dim for slot in collection.slots]
        self._is_pooled, self._is_managed, self._lengths = collection.is_pooled, collection.is_managed, lengths
        self.embeddings: list[Tensor] = []

    def forward(self, features: Any) -> Any:
        if self._is_pooled:
            found: Any = KeyedTensor(self._names, self._dims, torch.cat([one.float() for one in self.embeddings], 1))
        else:
            sequences = [ServedSequences(raw, self._lengths) for raw in self.embeddings]
            found = dict(zip(self._names, sequences, strict=True))
        return (found, None) if self._is_managed else found


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
        """arguments: of the model's forward, of which the KeyedJaggedTensor stays, as nothing of it may be used."""
        super().__init__()
        (lengths,) = {one.lengths().dtype for one in arguments if not isinstance(one, Tensor)}
        self._collections = [_LookedUp(collection, lengths) for collection in collections]
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
        with WithoutFbgemm():
            scores = self.model(*(next(tensors) if isinstance(one, Tensor) else one for one in self._arguments))
            return self.output(scores)

    @contextmanager
    def with_ids(self, kjt: Any) -> Iterator[None]:
        """Until the `with` ends, the model gets another KeyedJaggedTensor beside the embeddings."""
        before = self._arguments
        self._arguments = [one if isinstance(one, Tensor) else kjt for one in before]
        try:
            yield
        finally:
            self._arguments = before


def _scripted(model: nn.Module, whole: WithoutTables, _: Inputs) -> Half:
    """Raises whatever TorchScript raises, and ValueError if the model has not the parts of a DLRM."""
    if not all(hasattr(model, part) for part in ("dense_arch", "inter_arch", "over_arch")):
        raise ValueError("only DLRM and DLRM_Projection are scripted")
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
    _check_operators(re.findall(r" = (\w+::\w+)", str(half.inlined_graph)))
    result: Half = half
    return result


def _exported(model: nn.Module, whole: WithoutTables, inputs: Inputs) -> torch.export.ExportedProgram:
    """Raises whatever torch.export raises."""
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        program = torch.export.export(whole, inputs, dynamic_shapes=tuple([{0: batch}] * len(tensors) for tensors in inputs))
    targets = [node.target for module in program.graph_module.modules() for node in getattr(module, "graph", _NO_GRAPH).nodes]
    _check_operators([target.name() for target in targets if isinstance(target, torch._ops.OpOverload)])
    return program


def _check_operators(names: Iterable[str]) -> None:
    """Raises ValueError for those that no server has, by their whole names."""
    foreign = sorted({name for name in names if name.partition("::")[0] not in ("aten", "prim", "prims")})
    if foreign:
        raise ValueError(f"it calls {', '.join(foreign)}, which a server does not have")


WAYS: dict[str, Callable[[nn.Module, WithoutTables, Inputs], Any]] = {
    "scripted": _scripted,
    "traced": _traced,
    "exported": _exported,
}
