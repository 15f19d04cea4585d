"""Whether a dense half has the scores of the model, whatever else is in a batch and however long sequences are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from persia.errors import ExportError

from .collections import TableSlot
from .dense_half import Inputs, WithoutTables

__all__ = ["Proof", "apart", "check_whole", "proofs_of", "prove", "scores_of", "tensors_of"]

_CLOSE = 1e-5  # absolute, and relative above 1: products of matrices of other sizes add in another order
_ALONE = 8  # so many samples are asked for one by one


class Proof(NamedTuple):
    """What a dense half is asked for, and the scores that it should have. what: for messages."""

    what: str
    inputs: Inputs
    expected: list[Tensor]


def check_whole(whole: WithoutTables, exact: Inputs, served: Inputs, own: list[Tensor], kjt: Any) -> list[Tensor]:
    """The scores of the model without its tables for what is served of the sample.

    exact: what the model itself looked up. own: its scores.

    Raises ExportError if the model without tables has other scores, if it uses more of the ids than their embeddings, or if the
    scores of a sample depend on others in its batch.
    """
    _compare(whole, Proof("its sample", exact, own))
    _check_ids_unused(whole, exact, own, kjt)
    expected = scores_of(whole, served)
    try:
        prove(whole, _of_sample(served, expected))
    except Exception as error:  # whatever the model raises
        raise ExportError(f"the scores of a sample depend on what else is in its batch: {error}") from error
    return expected


def proofs_of(whole: WithoutTables, served: Inputs, expected: list[Tensor], slots: Sequence[TableSlot]) -> list[Proof]:
    """All that is asked for. expected: the scores of the sample.

    Raises ExportError if the model fails where all sequences are as long as they may be.
    """
    proofs = _of_sample(served, expected)
    if all(slot.room is None for slot in slots):
        return proofs
    generator = torch.Generator().manual_seed(0)
    dense, embeddings = served
    full, empty = [], []
    for slot, tensor in zip(slots, embeddings, strict=True):
        other = tensor
        if slot.room is not None:
            other = torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
            other[:, :, -1] = 1
        full.append(other)
        empty.append(tensor if slot.room is None else torch.zeros_like(tensor))
    try:
        proofs.append(Proof("the longest sequences", (dense, full), scores_of(whole, (dense, full))))
    except Exception as error:  # whatever the model raises
        raise ExportError(f"the model fails for sequences as long as max_length says: {error}") from error
    with suppress(Exception):  # then the model itself cannot be asked for them either
        proofs.append(Proof("empty sequences", (dense, empty), scores_of(whole, (dense, empty))))
    return proofs


def prove(half: Any, proofs: Sequence[Proof]) -> None:
    """Raises ExportError unless the scores are those expected, and whatever the half raises."""
    for proof in proofs:
        _compare(half, proof)


def scores_of(half: Any, inputs: Inputs) -> list[Tensor]:
    """Of a dense half, or of the model without its tables. Raises ExportError, and whatever it raises."""
    with torch.no_grad():
        return tensors_of(half(*inputs))


def tensors_of(scores: Any) -> list[Tensor]:
    """Raises ExportError unless they are what a handler can answer: a tensor, or a mapping or sequence of tensors."""
    if isinstance(scores, Tensor):
        return [scores]
    parts = [scores]
    if isinstance(scores, (Mapping, tuple, list)):
        parts = list(scores.values() if isinstance(scores, Mapping) else scores)
    for part in parts:
        if not isinstance(part, Tensor):
            raise ExportError(f"expected the model to answer tensors, got {type(part).__name__}")
    return parts


def apart(scores: list[Tensor], others: list[Tensor]) -> float:
    """How far they are, at most."""
    return max(
        float((one.double() - other.double()).abs().max()) if one.numel() else 0.0
        for one, other in zip(scores, others, strict=True)
    )


def _of_sample(served: Inputs, expected: list[Tensor]) -> list[Proof]:
    """The sample, twice, backwards, and its first samples one by one: a trace may keep the size or the order of a batch."""

    def made(what: str, change: Callable[[Tensor], Tensor]) -> Proof:
        dense, embeddings = ([change(tensor) for tensor in tensors] for tensors in served)
        return Proof(what, (dense, embeddings), [change(scores) if scores.dim() else scores for scores in expected])

    size = min((len(tensor) for tensors in served for tensor in tensors), default=0)
    proofs = [Proof("the sample", served, expected), made("the sample twice", lambda tensor: torch.cat([tensor, tensor]))]
    proofs.append(made("the sample backwards", lambda tensor: tensor.flip(0)))
    for i in range(min(size, _ALONE)):
        proofs.append(made(f"sample {i} alone", partial(_one_of, place=i)))
    return proofs


def _one_of(tensor: Tensor, place: int) -> Tensor:
    return tensor[place : place + 1]


def _check_ids_unused(whole: WithoutTables, exact: Inputs, own: list[Tensor], kjt: Any) -> None:
    """A dense half gets embeddings, so a model that uses ids or their lengths beside them would use those of its sample."""
    lengths = kjt.lengths() + 1
    ids = torch.zeros(int(lengths.sum()), dtype=kjt.values().dtype)
    weights = torch.zeros(len(ids)) if kjt.weights_or_none() is not None else None
    other = KeyedJaggedTensor(keys=kjt.keys(), values=ids, lengths=lengths, weights=weights)
    try:
        with whole.with_ids(other):
            _compare(whole, Proof("its sample", exact, own))
    except Exception as error:  # whatever the model raises
        raise ExportError(
            "the model uses the ids of a request, their lengths or their weights beside its embeddings, and a dense half gets "
            "embeddings only. Lengths of a sequence are those of what its EmbeddingCollection answers; send others as a dense "
            f"tensor. With other ids, {error}"
        ) from error


def _compare(half: Any, proof: Proof) -> None:
    found = scores_of(half, proof.inputs)
    if [one.shape for one in found] != [one.shape for one in proof.expected]:
        raise ExportError(f"its answer to {proof.what} has other shapes than the model's")
    for one, other in zip(found, proof.expected, strict=True):
        if not torch.allclose(one, other, atol=_CLOSE, rtol=_CLOSE, equal_nan=True):
            raise ExportError(f"its scores of {proof.what} are {apart([one], [other]):.2g} away from the model's own")
