"""The rows that a training of TorchRec changes, as packets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torch.distributed.tensor import DTensor
from torchrec.distributed.mc_embedding_modules import BaseShardedManagedCollisionEmbeddingCollection
from torchrec.distributed.model_tracker.model_delta_tracker import ModelDeltaTrackerTrec

from persia.errors import InvalidInput, NotRepresentable
from persia.writers import IncrementalDumper

__all__ = ["DeltaDumper"]


class DeltaDumper:
    """Hands the rows that a sharded model has looked up since the last time, and so trained, to an IncrementalDumper.

    Each process of a training has one, with an IncrementalDumper whose `shard_index` is its rank, and commits the rows that it
    holds. Not for use by two threads at a time.

    model: a DistributedModelParallel. dumper: with the embedding config that split() wrote. tracker: a ModelDeltaTracker that
    tracks ids already, and that nobody else reads; None: one is made.
    """

    def __init__(self, model: Any, dumper: IncrementalDumper, *, tracker: Any = None) -> None:
        """Raises InvalidInput if the model has no sharded table, NotRepresentable if the tracked ids do not say which rows."""
        self._model = model
        self._dumper = dumper
        self._tracker = ModelDeltaTrackerTrec(model) if tracker is None else tracker
        features = self._tracker.fqn_to_feature_names()
        if not features:
            raise InvalidInput(
                f"expected a DistributedModelParallel with sharded tables, got {type(model).__name__} without one"
            )
        _check_tracking(model, features, self._tracker.get_tracked_modules().values())
        self._slots = {table: names[0] for table, names in features.items()}
        self._waiting: dict[str, torch.Tensor] = {}  # ids that were tracked, and have not been committed

    def commit(self) -> int:
        """Call it between two steps, when the optimizer has changed the rows; returns how many went to the dumper.

        What fails is committed by the next call. Raises NotRepresentable if this process has only some columns of a table, and
        the errors of commit_feature.
        """
        for table, ids in self._tracker.get_unique_ids().items():
            before = self._waiting.get(table)
            self._waiting[table] = ids if before is None else torch.cat([before, ids]).unique()
        self._tracker.clear()  # or TorchRec's tracker fails where a table is not looked up until the next commit
        self._tracker.step()  # what is looked up from now on belongs to that
        weights = self._model.state_dict()
        count = 0
        for table, ids in list(self._waiting.items()):
            # The tracker leaves this where DistributedModelParallel has no dense parameters to wrap.
            name = table.removeprefix("_dmp_wrapped_module.")
            first, rows = _rows_here(name, weights[f"{name}.weight"])
            ids = ids.to(rows.device)
            numbers = rows[ids].detach().float().cpu().numpy()
            self._dumper.commit_feature(self._slots[table], (ids + first).cpu().numpy(), numbers)
            del self._waiting[table]
            count += len(ids)
        return count


def _check_tracking(model: Any, features: Mapping[str, list[str]], modules: Iterable[Any]) -> None:
    """TorchRec's tracker knows a table by a feature of it and by its name; it warns where that is not enough, and goes on.

    Raises NotRepresentable where ids would be those of another table, or not those that clients send.
    """
    for path, module in model.named_modules():
        if isinstance(module, BaseShardedManagedCollisionEmbeddingCollection):
            raise NotRepresentable(f"`{path}` has managed collisions, so that TorchRec tracks places of ids, and not the ids")
    if len(features) < sum(len(module._table_name_to_config) for module in modules):
        raise NotRepresentable("several collections have a table of the same name, of which TorchRec tracks one: rename one")
    tables: dict[str, str] = {}
    for table, names in features.items():
        for name in names:
            if name in tables:
                raise NotRepresentable(
                    f"`{tables[name]}` and `{table}` both have the feature `{name}`, and TorchRec tracks its ids for the first "
                    "alone. Give one of them a feature of another name, with the same ids"
                )
            tables[name] = table


def _rows_here(table: str, weight: Any) -> tuple[int, torch.Tensor]:
    """The rows of a table that this process holds, and the number of the first of them."""
    if isinstance(weight, DTensor):
        raise NotRepresentable(f"{table} is a DTensor: build the sharders with `output_dtensor=False`")
    if not isinstance(weight, ShardedTensor):
        return 0, weight
    shards = sorted(weight.local_shards(), key=lambda shard: shard.metadata.shard_offsets)
    rows = shards[0].tensor if len(shards) == 1 else torch.cat([shard.tensor for shard in shards], 1)
    columns = weight.metadata().size[1]
    if rows.shape[1] != columns:
        raise NotRepresentable(
            f"{table}: this process has {rows.shape[1]} of {columns} columns, and a row goes to a packet whole. Shard "
            "the table by rows, or as a whole"
        )
    return int(shards[0].metadata.shard_offsets[0]), rows
