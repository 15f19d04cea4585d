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
from .collections import TableSlot, config_of, find_collections, table_map_of
from .dense_half import WAYS, Inputs, WithoutTables
from .looking_up import embeddings_of, with_id_rules
from .proving import Proof, apart, check_whole, proofs_of, prove, scores_of, tensors_of

__all__ = ["Split", "split"]


@dataclass(frozen=True)
class Split:
    """A model in two halves.

    Attributes:
        way: How the dense half was made: "scripted", "traced" or "exported".
        dense_half: It: a ScriptModule, or an ExportedProgram if it was exported. It takes (dense, embeddings), two lists.
        slots: The features in the order of `embeddings`.
        dense: The names of the dense tensors, in their order.
        embeddings: The numbers of its embeddings, "f32" or "f16".
        difference: By how much the scores of the sample move at most if its embeddings are rounded to float16.
        sample: The sample as a batch.
        why_not: Why the ways that were tried before were not taken, by way.
    """

    way: str
    dense_half: Any
    slots: tuple[TableSlot, ...]
    dense: tuple[str, ...]
    embeddings: str
    difference: float
    sample: PersiaBatch
    why_not: Mapping[str, str]

    @property
    def embedding_config(self) -> dict[str, Any]:
        """What stands in embedding_config.yml."""
        return config_of(self.slots, self.embeddings)

    @property
    def table_map(self) -> dict[str, Any]:
        """What stands in tables.yml, by which `persia-launcher import` finds the tables in a state_dict."""
        return table_map_of(self.slots)

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
    max_length: int | Mapping[str, int] | None = None,
    embeddings: str = "f32",
    way: str | None = None,
) -> Split:
    """The dense half of a model, with what the import of its tables and the servers want to know.

    The dense half is the model's own code without its tables. It is scripted if it can be, else traced, else exported, and the
    first of these is taken whose scores are the model's own: of the sample, twice, backwards and one by one, and of sequences
    that are empty and as long as they may be.

    Args:
        model: As it is before DistributedModelParallel shards it, with EmbeddingBagCollections, EmbeddingCollections, or both;
            also with managed collisions (ZCH), or quantised.
        sample: Arguments of its forward, in order: dense tensors (batch, ...), and one KeyedJaggedTensor.
        output: What is done to its answer, such as nn.Sigmoid() for logits; None: nothing.
        dense_names: Of the dense tensors in requests; None: those of the arguments.
        max_length: How many ids a sample of a sequence (EmbeddingCollection) may have, of all sequences or by slot. Requests
            with more are refused.
        embeddings: The numbers of the embeddings that servers give: "f32", which are the model's own, or "f16", which are half
            as long. Split.difference says how much that would move the scores.
        way: Only this way is tried: "scripted", "traced" or "exported".

    Raises ExportError if the model cannot be split, with the reason of each way.
    """
    if way is not None and way not in WAYS:
        raise ExportError(f"expected way to be {', '.join(WAYS)} or None, got {way!r}")
    if embeddings not in ("f32", "f16"):
        raise ExportError(f"expected embeddings to be f32 or f16, got {embeddings!r}")
    collections = find_collections(model, max_length)
    arguments = list(sample)
    dense = [one for one in arguments if isinstance(one, Tensor)]
    kjt = _ids_of(arguments)
    names = tuple(dense_names) if dense_names is not None else _names_of(model, arguments)
    if len(names) != len(dense):
        raise ExportError(f"expected a name for each of {len(dense)} dense tensors, got {', '.join(names)}")
    activation = nn.Identity() if output is None else output

    def forward(ids: Any) -> Any:
        return model(*(one if isinstance(one, Tensor) else ids for one in arguments))

    with evaluating(model), torch.no_grad():
        exact, answer = embeddings_of(forward, collections, kjt)
        own = tensors_of(activation(answer))
        collections = with_id_rules(forward, collections, kjt)
    slots = tuple(slot for collection in collections for slot in collection.slots)
    whole = WithoutTables(model, collections, arguments, activation)
    rounded = [tensor.half() for tensor in exact]
    served = (dense, exact if embeddings == "f32" else rounded)
    expected = check_whole(whole, (dense, exact), served, own, kjt)
    proofs = proofs_of(whole, served, expected, slots)
    name, half, why_not = _first_way(model, whole, served, proofs, list(WAYS) if way is None else [way])
    batch = _batch(slots, kjt, dict(zip(names, dense, strict=True)))
    difference = apart(scores_of(whole, (dense, rounded)), own)
    return Split(name, half, slots, names, embeddings, difference, batch, why_not)


def _first_way(
    model: nn.Module, whole: WithoutTables, served: Inputs, proofs: Sequence[Proof], ways: Sequence[str]
) -> tuple[str, Any, dict[str, str]]:
    """The first way whose dense half has the scores of the model; the half, and why not the ways before. Raises ExportError."""
    why_not: dict[str, str] = {}
    for name in ways:
        try:
            half = WAYS[name](model, whole, served)
            prove(half.module() if name == "exported" else half, proofs)
        except Exception as error:  # whatever TorchScript, the model and torch.export raise
            why_not[name] = _reason(error)
        else:
            return name, half, why_not
    reasons = "; ".join(f"{name}: {reason}" for name, reason in why_not.items())
    raise ExportError(f"no way leads to the dense half of {type(model).__name__}: {reasons}")


def _reason(error: Exception) -> str:
    """One line. What fails inside TorchScript says it in the last one, after a stack."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return lines[-1 if "TorchScript interpreter" in lines[0] else 0]


def _batch(slots: Sequence[TableSlot], kjt: Any, dense: Mapping[str, Tensor]) -> PersiaBatch:
    weighted = {slot.name for slot in slots if slot.weighted}
    room = {slot.name: slot.room for slot in slots if slot.room is not None}
    features = {slot.name: slot.feature for slot in slots}
    return batch_from_kjt(kjt, dense, features=features, weighted=weighted, max_length=room)


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
        raise ExportError(
            f"expected a sample of tensors and one KeyedJaggedTensor, got {got}: put the model into a module whose forward "
            "takes these (KeyedJaggedTensor.concat makes one of several, and split takes it apart)"
        )
    return found[0]
