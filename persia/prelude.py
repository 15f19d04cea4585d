"""The names that the first generation of Persia gave to clients and handlers. New code uses persia.batch and persia.ctx."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from persia._core import BatchEncoder
from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, Label, NonIDTypeFeature
from persia.errors import FeatureError, InvalidInput

if TYPE_CHECKING:
    from persia.ctx import Features, InferCtx
    from persia.routing.lookup import Lookup
    from persia.tensors import Tensor

__all__ = ["FirstGenerationBatch", "PyPersiaBatchData", "forward_directly_from_bytes"]

_Array = npt.NDArray[Any]
_NamedLists = Iterable[tuple[str, Sequence[npt.NDArray[np.uint64]]]]
_Part = TypeVar("_Part", IDTypeFeature, IDTypeFeatureWithSingleID, NonIDTypeFeature, Label)
_NamedArrays = Iterable[tuple[str, npt.NDArray[np.uint64]]]

_newest: weakref.ref[InferCtx] | None = None
_default: InferCtx | None = None


class PyPersiaBatchData:
    """A byte batch, put together call by call. Every part must have the batch size of the first one."""

    def __init__(self) -> None:
        self._encoder = BatchEncoder()
        self._batch_size: int | None = None

    def add_dense(self, data: Sequence[_Array]) -> None:
        """Adds each of the arrays (batch, ...)."""
        if isinstance(data, np.ndarray):
            raise InvalidInput("expected a list of arrays, got one array: put it into a list")
        for array in data:
            self.add_non_id_type_feature(array)

    def add_non_id_type_feature(self, data: _Array, name: str | None = None) -> None:
        dense = self._checked(NonIDTypeFeature(data, name))
        self._encoder.add_dense(dense._encodable(), dense.name)

    # The names by dtype, which the array itself knows.
    add_dense_f32 = add_dense_f64 = add_dense_i32 = add_dense_i64 = add_non_id_type_feature

    def add_sparse(self, data: _NamedLists, requires_grad: bool | None = None) -> None:
        """Adds features: pairs of a name and a list of uint64 arrays, one per sample."""
        self._set_requires_grad(requires_grad)
        for name, samples in data:
            self._checked(IDTypeFeature(name, samples))._add_to(self._encoder)

    def add_id_type_features(self, data: _NamedLists, requires_grad: bool | None = None) -> None:
        self.add_sparse(data, requires_grad)

    def add_id_type_features_with_single_id(self, data: _NamedArrays, requires_grad: bool | None = None) -> None:
        """Adds features of one id per sample: pairs of a name and an array (batch) uint64."""
        self._set_requires_grad(requires_grad)
        for name, ids in data:
            self._checked(IDTypeFeatureWithSingleID(name, ids))._add_to(self._encoder)

    def add_label(self, data: _Array, name: str | None = None) -> None:
        label = self._checked(Label(data, name))
        self._encoder.add_label(label._encodable(), label.name)

    add_target = add_label

    def add_meta(self, data: bytes) -> None:
        self._encoder.set_meta(data)

    def to_bytes(self) -> bytes:
        return self._encoder.to_bytes()

    def _set_requires_grad(self, requires_grad: bool | None) -> None:
        self._encoder.set_requires_grad(True if requires_grad is None else bool(requires_grad))

    def _checked(self, part: _Part) -> _Part:
        if self._batch_size is None:
            self._batch_size = part.batch_size
        if part.batch_size != self._batch_size:
            raise FeatureError(part.name, f"expected {self._batch_size} samples, the batch size, got {part.batch_size}")
        return part


@dataclass(frozen=True)
class FirstGenerationBatch:
    """What forward_directly_from_bytes gives."""

    features: Features
    lookup: Lookup

    def prepared(self) -> tuple[list[Tensor], list[Tensor]]:
        """What InferCtx.prepare_features gives: dense tensors and embeddings, without labels."""
        return self.features.dense, self.features.embeddings


def forward_directly_from_bytes(data: bytes, device_id: int | None = None) -> FirstGenerationBatch:
    """A byte batch with its embeddings, for InferCtx.prepare_features. Uses the context that was made last.

    The handlers of that generation name GPU 0 whether there is one or not: without GPUs, tensors stay on the CPU. Raises as
    InferCtx.get_embedding_from_bytes does.
    """
    # Here rather than above: a client that only builds batches needs no torch.
    from persia.tensors import gpus

    batch = current_context().get_embedding_from_bytes(data, device_id if gpus() else None)
    return FirstGenerationBatch(batch.features, batch.lookup)


def remember_context(context: InferCtx) -> None:
    """Each context calls it when it is made."""
    global _newest
    _newest = weakref.ref(context)


def current_context() -> InferCtx:
    """The context that was made last and is still there; else one with default settings, which then stays."""
    global _default
    context = _newest() if _newest is not None else None
    if context is None:
        from persia.ctx import InferCtx  # which imports torch, and this module

        context = _default = InferCtx()
    return context
