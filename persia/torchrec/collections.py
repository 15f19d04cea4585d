"""The embedding collections of a model, and the slots that their features become."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import torch
from torchrec.distributed.types import ShardedModule
from torchrec.modules.embedding_configs import PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection

from persia.config.table_groups import config_of_tables
from persia.errors import ExportError

__all__ = ["Collection", "TableSlot", "config_of", "find_collections", "table_map_of"]

_POOLINGS = {PoolingType.SUM: "sum", PoolingType.MEAN: "mean"}


class TableSlot(NamedTuple):
    """A feature of a table: a slot here.

    Attributes:
        name: Of the slot; TorchRec has the same name for the embedding, FEATURE@TABLE where several tables have the feature.
        feature: The key of the KeyedJaggedTensor.
        table: As the state_dict of the model names it.
        dim: Of its rows.
        pooling: "sum" or "mean".
        weighted: Whether the ids of the feature have weights.
    """

    name: str
    feature: str
    table: str
    dim: int
    pooling: str
    weighted: bool


class Collection(NamedTuple):
    """An EmbeddingBagCollection, where it is in the model, and its slots in the order of its KeyedTensor."""

    path: str
    module: Any
    slots: tuple[TableSlot, ...]


def find_collections(model: torch.nn.Module) -> list[Collection]:
    """Raises ExportError if the model has none, or has tables that no slot can stand for."""
    found = []
    for path, module in model.named_modules():
        if isinstance(module, ShardedModule):
            raise ExportError(
                f"`{path}` is sharded already: split the model before DistributedModelParallel shards it, or one that was "
                "built in the same way. The rows of its tables are not looked at"
            )
        if isinstance(module, EmbeddingCollection):
            raise ExportError(
                f"`{path}` is an EmbeddingCollection, whose embeddings are sequences: split() takes pooled ones only. Give "
                "such features `pooling: raw`, and write the dense half by hand"
            )
        if isinstance(module, EmbeddingBagCollection):
            found.append(Collection(path, module, _slots_of(path, module)))
    if not found:
        raise ExportError(f"{type(model).__name__} has no EmbeddingBagCollection")
    names = Counter(slot.name for collection in found for slot in collection.slots)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ExportError(
            f"several collections of the model have the feature `{twice[0]}`, and a slot has one table: rename one"
        )
    return found


def _slots_of(path: str, module: Any) -> tuple[TableSlot, ...]:
    configs, prefix = module.embedding_bag_configs(), f"{path}." if path else ""
    tables_of = Counter(feature for config in configs for feature in config.feature_names)
    slots = []
    for config in configs:
        if config.pooling not in _POOLINGS:
            raise ExportError(f"table `{config.name}` pools by {config.pooling}: expected SUM or MEAN")
        table = f"{prefix}embedding_bags.{config.name}.weight"
        for feature in config.feature_names:
            name = feature if tables_of[feature] == 1 else f"{feature}@{config.name}"
            slots.append(
                TableSlot(name, feature, table, config.embedding_dim, _POOLINGS[config.pooling], bool(module.is_weighted()))
            )
    return tuple(slots)


def config_of(slots: list[TableSlot]) -> dict[str, Any]:
    """What stands in embedding_config.yml."""
    entries: dict[str, dict[str, Any]] = {}
    for slot in slots:
        entries[slot.name] = {"dim": slot.dim, "pooling": slot.pooling}
        if slot.weighted:
            entries[slot.name]["weighted"] = True
    return config_of_tables(entries, {slot.name: slot.table for slot in slots})


def table_map_of(slots: list[TableSlot]) -> dict[str, Any]:
    """What stands in tables.yml, by which `persia-launcher import` finds the rows."""
    return {"slots": {slot.name: {"table": slot.table, "pooling": slot.pooling} for slot in slots}}
