"""`split`: a model of TorchRec becomes a dense half, an embedding config and a table map, proved by a sample."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from persia.batch import PersiaBatch
from persia.errors import ExportError
from persia.torch_deprecations import torch_deprecations_ignored
from persia.torch_modes import evaluating

from .batches import batch_from_kjt
from .collections import Collection, TableSlot, config_of, find_collections, table_map_of
from .dense_half import WAYS, Inputs, WithoutTables

__all__ = ["Split", "split"]

_CLOSE = 1e-5  # absolute, and relative above 1: products of matrices of other sizes add in another order


@dataclass(frozen=True)
class Split:
    """A model in two halves.

    Attributes:
        way: How the dense half was made: "scripted", "traced" or "exported".
        dense_half: It: a ScriptModule, or an ExportedProgram if it was exported. It takes (dense, embeddings), two lists.
        slots: The features in the order of `embeddings`.
        dense: The names of the dense tensors, in their order.
        difference: By how much the scores of the sample moved at most, when its embeddings were rounded to float16.
        sample: The sample as a batch.
        why_not: Why the ways that were tried before were not taken, by way.
    """

    way: str
    dense_half: Any
    slots: tuple[TableSlot, ...]
    dense: tuple[str, ...]
    difference: float
    sample: PersiaBatch
    why_not: Mapping[str, str]

    @property
    def embedding_config(self) -> dict[str, Any]:
        """What stands in embedding_config.yml."""
        return config_of(list(self.slots))

    @property
    def table_map(self) -> dict[str, Any]:
        """What stands in tables.yml, by which `persia-launcher import` finds the tables in a state_dict."""
        return table_map_of(list(self.slots))

    @property
    def features(self) -> dict[str, str]:
        """By the name of each slot, the key of the KeyedJaggedTensor that has its ids."""
        return {slot.name: slot.feature for slot in self.slots}

    def batch(self, kjt: KeyedJaggedTensor, *dense: Tensor) -> PersiaBatch:
        """A request: the ids of a KeyedJaggedTensor, and the dense tensors in the order of the model's arguments."""
        if len(dense) != len(self.dense):
            raise ExportError(f"expected {len(self.dense)} dense tensors ({', '.join(self.dense)}), got {len(dense)}")
        return _batch(self.slots, kjt, dict(zip(self.dense, dense, strict=True)))

    def write(self, directory: str | os.PathLike[str]) -> Path:
        """Writes embedding_config.yml, tables.yml, sample.bin, and the dense half; returns the path of the dense half."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("embedding_config.yml", self.embedding_config), ("tables.yml", self.table_map)):
            (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
        (folder / "sample.bin").write_bytes(self.sample.to_bytes())
        path = folder / ("dense.pt2" if self.way == "exported" else "dense.pt")
        if self.way == "exported":
            torch.export.save(self.dense_half, path)
        else:
            with torch_deprecations_ignored():
                torch.jit.save(self.dense_half, str(path))
        return path


def split(
    model: nn.Module,
    sample: Sequence[Any],
    *,
    output: nn.Module | None = None,
    dense_names: Sequence[str] | None = None,
    way: str | None = None,
) -> Split:
    """The dense half of a model, with what the import of its tables and the servers want to know.

    The dense half is the model's own code without its tables. It is scripted if it can be, else traced, else exported, and the
    first of these is taken whose scores are the model's own: of the sample, and of the sample twice.

    Args:
        model: As it is before DistributedModelParallel shards it, with one or several EmbeddingBagCollections.
        sample: Arguments of its forward, in order: dense tensors (batch, ...), and one KeyedJaggedTensor.
        output: What is done to its answer, such as nn.Sigmoid() for logits; None: nothing.
        dense_names: Of the dense tensors in requests; None: those of the arguments.
        way: Only this way is tried: "scripted", "traced" or "exported".

    Raises ExportError if the model cannot be split, with the reason of each way.
    """
    if way is not None and way not in WAYS:
        raise ExportError(f"expected way to be {', '.join(WAYS)} or None, got {way!r}")
    collections = find_collections(model)
    slots = tuple(slot for collection in collections for slot in collection.slots)
    arguments = list(sample)
    dense = [one for one in arguments if isinstance(one, Tensor)]
    kjt = _ids_of(arguments)
    names = tuple(dense_names) if dense_names is not None else _names_of(model, arguments)
    if len(names) != len(dense):
        raise ExportError(f"expected a name for each of {len(dense)} dense tensors, got {', '.join(names)}")
    activation = nn.Identity() if output is None else output
    with evaluating(model), torch.no_grad():
        embeddings, own = _own_scores(model, collections, arguments, kjt, activation)
    whole = WithoutTables(model, collections, arguments, activation)
    _compare(whole, (dense, embeddings), own, "its sample")
    served = (dense, [embedding.half() for embedding in embeddings])
    expected = _scores_of(whole, served)
    try:
        _prove(whole, served, expected)
    except Exception as error:  # whatever the model raises
        raise ExportError(f"the scores of a sample depend on what else is in its batch: {error}") from error
    why_not: dict[str, str] = {}
    for name, make in WAYS.items() if way is None else [(way, WAYS[way])]:
        try:
            half = make(model, whole, served)
            _prove(half.module() if name == "exported" else half, served, expected)
        except Exception as error:  # whatever TorchScript, the model and torch.export raise
            why_not[name] = (str(error).strip() or type(error).__name__).splitlines()[0]
            continue
        batch = _batch(slots, kjt, dict(zip(names, dense, strict=True)))
        return Split(name, half, slots, names, _apart(expected, own), batch, why_not)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in why_not.items())
    raise ExportError(f"no way leads to the dense half of {type(model).__name__}: {reasons}")


def _batch(slots: Sequence[TableSlot], kjt: Any, dense: Mapping[str, Tensor]) -> PersiaBatch:
    weighted = {slot.name for slot in slots if slot.weighted}
    return batch_from_kjt(kjt, dense, features={slot.name: slot.feature for slot in slots}, weighted=weighted)


def _names_of(model: nn.Module, arguments: list[Any]) -> tuple[str, ...]:
    names = list(inspect.signature(model.forward).parameters)
    if len(names) < len(arguments):
        raise ExportError(f"the model's forward takes {', '.join(names)}, and the sample has {len(arguments)} arguments")
    return tuple(name for name, one in zip(names, arguments, strict=False) if isinstance(one, Tensor))


def _ids_of(arguments: list[Any]) -> Any:
    found = [one for one in arguments if isinstance(one, KeyedJaggedTensor)]
    others = [type(one).__name__ for one in arguments if not isinstance(one, (Tensor, KeyedJaggedTensor))]
    if len(found) != 1 or others:
        got = ", ".join(type(one).__name__ for one in arguments) or "nothing"
        raise ExportError(f"expected a sample of tensors and one KeyedJaggedTensor, got {got}")
    return found[0]


def _own_scores(
    model: nn.Module, collections: list[Collection], arguments: list[Any], kjt: Any, output: nn.Module
) -> tuple[list[Tensor], list[Tensor]]:
    """What the model looks up, and what it answers."""
    looked_up: dict[str, Any] = {}

    def keep(collection: Collection, asked: Any, found: Any) -> None:
        if collection.path in looked_up:
            raise ExportError(f"`{collection.path}` is asked twice in one forward; of a request it is asked once")
        _check_same_ids(collection, asked, kjt)
        looked_up[collection.path] = found.to_dict()

    hooks = [
        one.module.register_forward_hook(lambda _, asked, found, one=one: keep(one, asked[0], found)) for one in collections
    ]
    try:
        own = _tensors_of(output(model(*arguments)))
    finally:
        for hook in hooks:
            hook.remove()
    for collection in collections:
        if collection.path not in looked_up:
            raise ExportError(f"the model's forward does not ask `{collection.path}`")
    return [looked_up[one.path][slot.name] for one in collections for slot in one.slots], own


def _check_same_ids(collection: Collection, asked: Any, kjt: Any) -> None:
    """A model that hashes or shifts ids before it looks them up would get other rows by a request with the ids as they were."""
    sent, taken = kjt.to_dict(), asked.to_dict()
    for feature in dict.fromkeys(slot.feature for slot in collection.slots):
        if feature not in sent:
            raise ExportError(f"the model looks up `{feature}`, which it makes itself: the sample has no such key")
        same = torch.equal(sent[feature].values(), taken[feature].values())
        if not same or not torch.equal(sent[feature].lengths(), taken[feature].lengths()):
            raise ExportError(
                f"the model changes the ids of `{feature}` before it looks them up. Take that out of the model, and have "
                "clients send the ids as they are looked up; `modulo` of a slot stands for ids % N"
            )


def _prove(half: Any, served: Inputs, expected: list[Tensor]) -> None:
    """Raises ExportError unless the scores are those of the model without its tables, whatever the size of the batch."""
    _compare(half, served, expected, "the sample")
    dense, embeddings = ([torch.cat([tensor, tensor]) for tensor in tensors] for tensors in served)
    _compare(half, (dense, embeddings), [torch.cat([scores, scores]) for scores in expected], "the sample twice")


def _compare(half: Any, inputs: Inputs, expected: list[Tensor], what: str) -> None:
    found = _scores_of(half, inputs)
    if [one.shape for one in found] != [one.shape for one in expected]:
        raise ExportError(f"its answer to {what} has other shapes than the model's")
    for one, other in zip(found, expected, strict=True):
        if not torch.allclose(one, other, atol=_CLOSE, rtol=_CLOSE, equal_nan=True):
            raise ExportError(f"its scores of {what} are {_apart([one], [other]):.2g} away from the model's own")


def _scores_of(half: Any, inputs: Inputs) -> list[Tensor]:
    with torch.no_grad():
        return _tensors_of(half(*inputs))


def _apart(scores: list[Tensor], others: list[Tensor]) -> float:
    return max(
        float((one.double() - other.double()).abs().max()) if one.numel() else 0.0
        for one, other in zip(scores, others, strict=True)
    )


def _tensors_of(scores: Any) -> list[Tensor]:
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
