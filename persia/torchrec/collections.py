"""The embedding collections of a model, and the slots that their features become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torchrec.distributed.types import ShardedModule
from torchrec.modules.embedding_configs import PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection
from torchrec.modules.mc_embedding_modules import BaseManagedCollisionEmbeddingCollection
from torchrec.modules.mc_modules import MCHManagedCollisionModule
from torchrec.quant.embedding_modules import EmbeddingBagCollection as QuantizedBags
from torchrec.quant.embedding_modules import EmbeddingCollection as QuantizedSequences
from torchrec.types import DataType

from persia.config.table_groups import config_of_tables
from persia.errors import ExportError

__all__ = ["Collection", "TableSlot", "config_of", "find_collections", "slot_names", "table_map_of"]

_POOLINGS = {PoolingType.SUM: "sum", PoolingType.MEAN: "mean"}
_QUANTIZED = {DataType.INT8: "int8", DataType.INT4: "int4", DataType.FP16: "float16"}


@dataclass(frozen=True)
class TableSlot:
    """A feature of a table: a slot here.

    Attributes:
        name: Of the slot: the feature, FEATURE@TABLE where several tables have it.
        embedding: TorchRec's name for it in what the collection answers.
        feature: The key of the KeyedJaggedTensor.
        table: As the state_dict of the model names it.
        dim: Of its rows.
        rows: How many the table has.
        pooling: "sum" or "mean"; "raw" for one row for each id.
        weighted: Whether the ids of the feature have weights.
        room: Of "raw": how many ids a sample may have.
        quantized: What the bytes of the table are, as tables.yml calls it, if it is quantised.
        modulo: By which number the model takes ids; 0: it does not.
        default_id: The id whose row an id without one gets.
        default: What tables.yml says about that.
    """

    name: str
    embedding: str
    feature: str
    table: str
    dim: int
    rows: int
    pooling: str
    weighted: bool = False
    room: int | None = None
    quantized: str | None = None
    modulo: int = 0
    default_id: int | None = None
    default: str | None = None


class Collection(NamedTuple):
    """What answers embeddings of pooled features, or sequences; where it is in the model, and its slots in its own order.

    is_managed: by a collision module, so that it answers a tuple.
    """

    path: str
    module: Any
    slots: tuple[TableSlot, ...]
    is_managed: bool = False

    @property
    def is_pooled(self) -> bool:
        return self.slots[0].pooling != "raw"


def find_collections(model: torch.nn.Module, max_length: int | Mapping[str, int] | None = None) -> list[Collection]:
    """max_length: how many ids a sample of a sequence may have, of all or by slot.

    Raises ExportError if the model has none, or has tables that no slot can stand for.
    """
    found: list[tuple[str, Any]] = []
    for path, module in model.named_modules():
        if any(path.startswith(f"{before}.") or not before for before, _ in found):
            continue  # a part of one that was found
        if isinstance(module, ShardedModule):
            raise ExportError(
                f"`{path}` is sharded already: split the model before DistributedModelParallel shards it, or one that was "
                "built in the same way. The rows of its tables are not looked at"
            )
        if isinstance(module, (*_POOLED, *_SEQUENCES, BaseManagedCollisionEmbeddingCollection)):
            found.append((path, module))
    if not found:
        raise ExportError(f"{type(model).__name__} has no EmbeddingBagCollection and no EmbeddingCollection")
    return _with_room(_named([_collection(path, module) for path, module in found]), max_length)


_POOLED = (EmbeddingBagCollection, QuantizedBags)
_SEQUENCES = (EmbeddingCollection, QuantizedSequences)


def slot_names(tables: Sequence[tuple[str, str]]) -> list[str]:
    """A name for each feature of a table, given as (feature, table): short where that says enough."""
    features = Counter(feature for feature, _ in tables)
    names = [(feature, f"{feature}@{table.rpartition('.')[2]}", f"{feature}@{table}") for feature, table in tables]
    shorter = Counter(name for _, name, _ in names)
    return [
        feature if features[feature] == 1 else middle if shorter[middle] == 1 else longest for feature, middle, longest in names
    ]


def _named(collections: list[Collection]) -> list[Collection]:
    slots = [slot for collection in collections for slot in collection.slots]
    names = iter(slot_names([(slot.feature, slot.table.removesuffix(".weight")) for slot in slots]))
    return [one._replace(slots=tuple(replace(slot, name=next(names)) for slot in one.slots)) for one in collections]


def _with_room(collections: list[Collection], max_length: int | Mapping[str, int] | None) -> list[Collection]:
    """Raises ExportError for a sequence of which nobody says how long it may be, or a length for a slot that has none."""
    raw = [slot.name for collection in collections for slot in collection.slots if slot.pooling == "raw"]
    lengths = dict(max_length) if isinstance(max_length, Mapping) else dict.fromkeys(raw, max_length)
    for name in [*raw, *lengths]:
        length = lengths.get(name)
        if name not in raw:
            raise ExportError(f"max_length has `{name}`, and the model's sequences are {', '.join(raw) or 'none'}")
        if not isinstance(length, int) or not 0 < length < 1 << 16:
            raise ExportError(
                f"`{name}` is a sequence, of an EmbeddingCollection: say by `max_length` how many ids a sample may have (1 to "
                f"65535, of all sequences or by slot), got {length}. A request with more is refused"
            )
    return [one._replace(slots=tuple(replace(slot, room=lengths.get(slot.name)) for slot in one.slots)) for one in collections]


def _collection(path: str, module: Any) -> Collection:
    prefix = f"{path}." if path else ""
    if not isinstance(module, BaseManagedCollisionEmbeddingCollection):
        return Collection(path, module, tuple(_slots_of(prefix, module)))
    if module._return_remapped_features:
        raise ExportError(f"`{path}` answers the places of ids beside the embeddings, which a server does not have")
    tables = module._managed_collision_collection._managed_collision_modules
    slots = []
    for slot in _slots_of(f"{prefix}_embedding_module.", module._embedding_module):
        name = slot.table.split(".")[-2]
        managed = tables[name]
        if not isinstance(managed, MCHManagedCollisionModule) or managed._input_hash_func is not None:
            raise ExportError(
                f"table `{name}` has managed collisions by {type(managed).__name__}, with a hash of the ids: its rows can be "
                "imported, and its dense half written by hand"
            )
        last = f"row {len(managed._mch_sorted_raw_ids) - 1}"
        slots.append(replace(slot, default_id=_UNSEEN, default=last))
    return Collection(path, module, tuple(slots), is_managed=True)


_UNSEEN = (1 << 56) - 2  # the largest id that stays as it is with 8 prefix bits; config_of() makes less of it for more bits


def _slots_of(prefix: str, module: Any) -> list[TableSlot]:
    pooled = isinstance(module, _POOLED)
    configs = module.embedding_bag_configs() if pooled else module.embedding_configs()
    if not pooled and module.need_indices():
        raise ExportError(f"`{prefix[:-1]}` gives the ids beside the rows (need_indices), and a dense half gets rows only")
    tables_of = Counter(feature for config in configs for feature in config.feature_names)
    slots = []
    for config in configs:
        if pooled and config.pooling not in _POOLINGS:
            raise ExportError(f"table `{config.name}` pools by {config.pooling}: expected SUM or MEAN")
        if pooled and module.is_weighted() and config.pooling is PoolingType.MEAN:
            raise ExportError(
                f"table `{config.name}` has the mean of weighted rows, for which TorchRec divides by the number of ids, and a "
                "server by the sum of their weights: pool by SUM, and have clients divide each weight by the number of ids"
            )
        if getattr(config, "use_virtual_table", False) or getattr(config, "num_embeddings_post_pruning", None):
            raise ExportError(f"table `{config.name}` is virtual or pruned, so that its rows are not numbered by ids")
        quantized = None
        if isinstance(module, (QuantizedBags, QuantizedSequences)) and config.data_type is not DataType.FP32:
            if config.data_type not in _QUANTIZED:
                raise ExportError(f"table `{config.name}` is quantised to {config.data_type}: expected INT8, INT4 or FP16")
            quantized = _QUANTIZED[config.data_type]
        for feature in config.feature_names:
            slots.append(
                TableSlot(
                    name=feature,
                    embedding=feature if tables_of[feature] == 1 else f"{feature}@{config.name}",
                    feature=feature,
                    table=f"{prefix}{'embedding_bags' if pooled else 'embeddings'}.{config.name}.weight",
                    dim=config.embedding_dim,
                    rows=config.num_embeddings,
                    pooling=_POOLINGS[config.pooling] if pooled else "raw",
                    weighted=pooled and bool(module.is_weighted()),
                    quantized=quantized,
                )
            )
    return slots


def config_of(slots: Sequence[TableSlot], output: str) -> dict[str, Any]:
    """What stands in embedding_config.yml. output: the numbers of the embeddings, "f32" or "f16"."""
    entries: dict[str, dict[str, Any]] = {}
    for slot in slots:
        entry: dict[str, Any] = {"dim": slot.dim, "pooling": slot.pooling}
        if slot.room is not None:
            entry |= {"sample_fixed_size": slot.room, "keep": "all"}
        if slot.weighted:
            entry["weighted"] = True
        if slot.modulo:
            entry["modulo"] = slot.modulo
        if slot.default_id is not None:
            entry["default_row"] = {"id": slot.default_id}
        if output != "f16":
            entry["output"] = output
        entries[slot.name] = entry
    config = config_of_tables(entries, {slot.name: slot.table for slot in slots})
    for entry in entries.values():
        if entry.get("default_row") == {"id": _UNSEEN}:
            entry["default_row"] = {"id": (1 << 64 - config["feature_index_prefix_bit"]) - 2}
    return config


def table_map_of(slots: Sequence[TableSlot]) -> dict[str, Any]:
    """What stands in tables.yml, by which `persia-launcher import` finds the rows."""
    entries: dict[str, dict[str, Any]] = {}
    for slot in slots:
        entry: dict[str, Any] = {"table": slot.table, "pooling": "none" if slot.pooling == "raw" else slot.pooling}
        entry |= {"modulo": slot.modulo} if slot.modulo else {}
        entry |= {"default": slot.default} if slot.default is not None else {}
        entry |= {"quantized": slot.quantized} if slot.quantized is not None else {}
        entries[slot.name] = entry
    return {"slots": entries}
