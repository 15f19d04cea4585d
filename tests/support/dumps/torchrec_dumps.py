"""Writes the dumps of TorchRec in tests/data/dumps/torchrec. Needs what tests/support/dumps/torchrec.txt names.

    python tests/support/dumps/torchrec_dumps.py tests/data/dumps/torchrec

An unsharded DLRM as a state_dict, the same model sharded over two processes as a distributed checkpoint (row-wise, column-wise
and table-wise), and 1,000 bags of each feature with what the model's own EmbeddingBagCollection made of them. Quantised
tables, one with managed collisions, and one with these that two processes have, and what their modules look up.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
import torchrec
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch.distributed.checkpoint.state_dict_saver import save
from torch.multiprocessing.spawn import spawn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor, PoolingType
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.mc_embeddingbag import ManagedCollisionEmbeddingBagCollectionSharder
from torchrec.distributed.mc_modules import ManagedCollisionCollectionSharder
from torchrec.distributed.sharding_plan import column_wise, construct_module_sharding_plan, row_wise, table_wise
from torchrec.distributed.types import ShardingPlan, ShardingType
from torchrec.inference.modules import quantize_embeddings
from torchrec.models.dlrm import DLRM
from torchrec.modules.mc_embedding_modules import ManagedCollisionEmbeddingBagCollection
from torchrec.modules.mc_modules import DistanceLFU_EvictionPolicy, ManagedCollisionCollection, MCHManagedCollisionModule

BAGS = 1000
# Feature, table, rows, dim, pooling, how it is sharded. Two features share a table.
TABLES = [
    ("user", "t_user", 61, 8, PoolingType.SUM, row_wise()),
    ("item", "t_item", 40, 8, PoolingType.MEAN, column_wise(ranks=[0, 1])),
    ("tag", "t_tag", 23, 8, PoolingType.SUM, table_wise(rank=1)),
]


class AnySharder(EmbeddingBagCollectionSharder):  # type: ignore[misc]  # has no types here
    """Shards tables by rows on CPUs, too, where TorchRec does not offer it."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return [kind.value for kind in ShardingType]


def collection() -> EmbeddingBagCollection:
    configs = [
        EmbeddingBagConfig(name=table, embedding_dim=dim, num_embeddings=rows, feature_names=[feature], pooling=pooling)
        for feature, table, rows, dim, pooling, _ in TABLES
    ]
    return EmbeddingBagCollection(device=torch.device("cpu"), tables=configs)


def model() -> DLRM:
    torch.manual_seed(7)
    return DLRM(collection(), 4, [16, 8], [16, 1])


def bags(generator: torch.Generator) -> KeyedJaggedTensor:
    lengths = torch.randint(0, 6, (len(TABLES) * BAGS,), generator=generator)
    values = [
        torch.randint(0, rows, (int(lengths[i * BAGS : (i + 1) * BAGS].sum()),), generator=generator)
        for i, (_, _, rows, *_) in enumerate(TABLES)
    ]
    return KeyedJaggedTensor(keys=[feature for feature, *_ in TABLES], values=torch.cat(values), lengths=lengths)


def write_bags(directory: Path, module: DLRM) -> None:
    batch = bags(torch.Generator().manual_seed(8))
    with torch.no_grad():
        pooled = module.sparse_arch.embedding_bag_collection(batch)
    arrays: dict[str, Any] = {}
    for feature, *_ in TABLES:
        arrays[f"{feature}.ids"] = batch[feature].values().numpy().astype(np.uint8)
        arrays[f"{feature}.lengths"] = batch[feature].lengths().numpy().astype(np.uint8)
        arrays[f"{feature}.vectors"] = pooled[feature].numpy()
    np.savez_compressed(directory / "bags.npz", **arrays)


def write_sharded(rank: int, directory: str, port: int) -> None:
    """One of two processes, each of which has a part of the tables."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    sharder: Any = AnySharder(fused_params={"optimizer": EmbOptimType.EXACT_SGD, "learning_rate": 0.1})
    module = model()
    plain = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    tables = construct_module_sharding_plan(
        module.sparse_arch.embedding_bag_collection,
        {table: how for _, table, *_, how in TABLES},
        sharder=sharder,
        local_size=2,
        world_size=2,
        device_type="cpu",
    )
    plan = ShardingPlan({"sparse_arch.embedding_bag_collection": tables})
    sharded = DistributedModelParallel(module, device=torch.device("cpu"), sharders=[sharder], plan=plan)
    for name, tensor in sharded.state_dict().items():
        if hasattr(tensor, "local_shards"):
            for shard in tensor.local_shards():
                (row, column), (rows, columns) = shard.metadata.shard_offsets, shard.metadata.shard_sizes
                shard.tensor.copy_(plain[name][row : row + rows, column : column + columns])
    save(sharded.state_dict(), checkpoint_id=directory)
    distributed.destroy_process_group()


def small_collection() -> EmbeddingBagCollection:
    """Of other dims than a power of two, because rows of bytes are padded."""
    torch.manual_seed(9)
    configs = [
        EmbeddingBagConfig(name=f"t_{feature}", embedding_dim=dim, num_embeddings=rows, feature_names=[feature])
        for feature, rows, dim in (("user", 21, 12), ("item", 30, 8))
    ]
    return EmbeddingBagCollection(device=torch.device("cpu"), tables=configs)


def write_quantised(directory: Path) -> dict[str, Any]:
    """Of each kind a file, and what the quantised module looks up for each id alone."""
    looked_up: dict[str, Any] = {}
    for kind, dtype in (("int8", torch.qint8), ("int4", torch.quint4x2), ("float16", torch.float16)):
        model = torch.nn.Sequential(small_collection())
        packed: Any = quantize_embeddings(model, dtype, inplace=False, output_dtype=torch.float32)[0]
        torch.save(packed.state_dict(), directory / f"{kind}.pt")
        every = torch.cat([torch.arange(21), torch.zeros(9, dtype=torch.int64), torch.arange(30)])
        found = packed(KeyedJaggedTensor(keys=["user", "item"], values=every, lengths=torch.ones(60, dtype=torch.int64)))
        looked_up |= {f"{kind}.user": found["user"][:21].numpy(), f"{kind}.item": found["item"].numpy()}
    return looked_up


def write_managed(directory: Path) -> dict[str, Any]:
    """A table with managed collisions, its raw ids in order, and what the module looks up for each."""
    manager, module = managed_module()

    def look_up(ids: torch.Tensor) -> Any:
        return module(KeyedJaggedTensor(keys=["user"], values=ids, lengths=torch.ones(len(ids), dtype=torch.int64)))[0]["user"]

    for _ in range(3):
        look_up(torch.randint(0, 2**40, (4,)))
    torch.save(module.state_dict(), directory / "managed.pt")
    save(module.state_dict(), checkpoint_id=directory / "managed_dcp")
    module.eval()
    raw = manager._mch_sorted_raw_ids
    ids = raw[raw != torch.iinfo(torch.int64).max].clone()
    with torch.no_grad():
        return {"managed.ids": ids.numpy(), "managed.rows": look_up(ids).numpy()}


def managed_module() -> tuple[Any, Any]:
    torch.manual_seed(10)
    config = EmbeddingBagConfig(name="t_user", embedding_dim=4, num_embeddings=20, feature_names=["user"])
    inner = EmbeddingBagCollection(device=torch.device("cpu"), tables=[config])
    manager = MCHManagedCollisionModule(
        zch_size=20,
        device=torch.device("cpu"),
        input_hash_size=2**40,
        eviction_interval=1,
        eviction_policy=DistanceLFU_EvictionPolicy(),
    )
    collisions = ManagedCollisionCollection({"t_user": manager}, inner.embedding_bag_configs())
    return manager, ManagedCollisionEmbeddingBagCollection(inner, collisions)


def write_managed_sharded(rank: int, directory: str, port: int) -> None:
    """One of two processes, each of which has the rows of some raw ids; and what both look up for all of these."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    module = managed_module()[1]
    fused = EmbeddingBagCollectionSharder(fused_params={"optimizer": EmbOptimType.EXACT_SGD, "learning_rate": 0.1})
    sharder = ManagedCollisionEmbeddingBagCollectionSharder(fused, ManagedCollisionCollectionSharder())
    how = {"t_user": row_wise(compute_kernel="fused")}
    plan = construct_module_sharding_plan(module, how, sharder=sharder, local_size=2, world_size=2, device_type="cpu")
    sharded = DistributedModelParallel(
        torch.nn.Sequential(module), device=torch.device("cpu"), sharders=[sharder], plan=ShardingPlan({"0": plan})
    )

    def look_up(ids: torch.Tensor) -> Any:
        found = sharded(KeyedJaggedTensor(keys=["user"], values=ids, lengths=torch.ones(len(ids), dtype=torch.int64)))
        return found[0].wait()["user"]

    torch.manual_seed(20 + rank)
    for _ in range(3):
        look_up(torch.randint(0, 2**40, (4,)))
    state = sharded.state_dict()
    save(state, checkpoint_id=directory)
    raw = next(tensor for name, tensor in state.items() if name.endswith("_mch_sorted_raw_ids")).local_shards()[0].tensor
    of_both: list[Any] = [None, None]
    distributed.all_gather_object(of_both, raw[raw != torch.iinfo(torch.int64).max].tolist())
    ids = torch.tensor([*of_both[0], *of_both[1]])
    sharded.eval()
    with torch.no_grad():
        rows = look_up(ids)
    if rank == 0:
        np.savez_compressed(f"{directory}.npz", ids=ids.numpy(), rows=rows.numpy())
    distributed.destroy_process_group()


def main(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    module = model().eval()
    torch.save(module.state_dict(), directory / "state.pt")
    write_bags(directory, module)
    np.savez_compressed(directory / "packed.npz", **write_quantised(directory), **write_managed(directory))
    spawn(write_sharded, (str(directory / "dcp"), 29_577), nprocs=2)
    spawn(write_managed_sharded, (str(directory / "managed_two"), 29_578), nprocs=2)
    versions = f"torch {torch.__version__}, torchrec {torchrec.__version__}\n"
    (directory / "versions.txt").write_text(versions)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
