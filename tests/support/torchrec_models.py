"""Models of TorchRec for tests: DLRM and others, their batches, and how they are sharded and trained on CPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch import Tensor, nn
from torchrec import (
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    EmbeddingCollection,
    EmbeddingConfig,
    KeyedJaggedTensor,
    KeyedTensor,
    PoolingType,
)
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.sharding_plan import column_wise, construct_module_sharding_plan, row_wise, table_wise
from torchrec.distributed.types import ShardingPlan, ShardingType
from torchrec.inference.modules import quantize_embeddings
from torchrec.models.dlrm import DLRM, DLRM_DCN, DLRM_Projection
from torchrec.modules.mc_embedding_modules import ManagedCollisionEmbeddingBagCollection
from torchrec.modules.mc_modules import DistanceLFU_EvictionPolicy, ManagedCollisionCollection, MCHManagedCollisionModule
from torchrec.modules.regroup import KTRegroupAsDict
from torchrec.quant.embedding_modules import EmbeddingCollection as QuantizedSequences

from persia.errors import NotRepresentable
from persia.torchrec import DeltaDumper, batch_from_kjt, split
from persia.writers import IncrementalDumper

__all__ = ["DeltaDumper", "batch_from_kjt", "row_wise", "split", "table_wise"]  # for tests, which import all of TorchRec late

ROWS, DIM, FEATURES, NUMBERS = 100, 16, ("user", "item", "tag"), 13
COLLECTION = "sparse_arch.embedding_bag_collection"


def table(name: str, features: Sequence[str], *, rows: int = ROWS, dim: int = DIM, pooling: Any = PoolingType.SUM) -> Any:
    return EmbeddingBagConfig(name=name, embedding_dim=dim, num_embeddings=rows, feature_names=list(features), pooling=pooling)


def collection(*tables: Any, weighted: bool = False) -> EmbeddingBagCollection:
    return EmbeddingBagCollection(device=torch.device("cpu"), tables=list(tables), is_weighted=weighted)


def make(kind: str) -> Any:
    torch.manual_seed(7)
    tables = collection(table("t_user", ["user"]), table("t_shared", ["item", "tag"]))
    if kind == "DLRM_DCN":
        return DLRM_DCN(tables, NUMBERS, [32, DIM], [32, 1], dcn_num_layers=2, dcn_low_rank_dim=8)
    if kind == "DLRM_Projection":
        return DLRM_Projection(tables, NUMBERS, [32, DIM], [32, 1], [2 * DIM, 2 * DIM], [2 * DIM, 2 * DIM])
    return DLRM(tables, NUMBERS, [32, DIM], [32, 1])


def ids(batch: int, seed: int, keys: Sequence[str] = FEATURES, *, weighted: bool = False) -> KeyedJaggedTensor:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 4, (len(keys) * batch,), generator=generator)
    values = torch.randint(0, ROWS, (int(lengths.sum()),), generator=generator)
    weights = torch.rand(len(values), generator=generator) if weighted else None
    return KeyedJaggedTensor(keys=list(keys), values=values, lengths=lengths, weights=weights)


def numbers(batch: int, seed: int) -> Tensor:
    return torch.randn(batch, NUMBERS, generator=torch.Generator().manual_seed(seed))


@contextmanager
def process_group(directory: Path, rank: int = 0, size: int = 1) -> Iterator[None]:
    os.environ.update(LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(size))  # TorchRec asks for them
    distributed.init_process_group("gloo", init_method=f"file://{directory}/group", rank=rank, world_size=size)
    try:
        yield
    finally:
        distributed.destroy_process_group()


class AnySharder(EmbeddingBagCollectionSharder):  # type: ignore[misc]  # has no types here
    """Shards tables by rows and columns on CPUs, too, where TorchRec does not offer it."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return [kind.value for kind in ShardingType]


def shard(model: nn.Module, how: dict[str, Any], size: int) -> DistributedModelParallel:
    """Of each table how, e.g. row_wise(). The optimizer is part of the tables; each step is large."""
    sharder: Any = AnySharder(fused_params={"optimizer": EmbOptimType.EXACT_SGD, "learning_rate": 5.0})
    tables = construct_module_sharding_plan(
        model.get_submodule(COLLECTION), how, sharder=sharder, local_size=size, world_size=size, device_type="cpu"
    )
    plan = ShardingPlan({COLLECTION: tables})
    return DistributedModelParallel(model, device=torch.device("cpu"), sharders=[sharder], plan=plan)


def train_tables(sharded: nn.Module, batch: KeyedJaggedTensor, dense: Tensor) -> None:
    """One step, which changes the rows that are looked up, and nothing of the dense half."""
    sharded(dense, batch).sum().backward()
    sharded.zero_grad()


class Odd(nn.Module):
    """Two collections, of which one has weights; a feature in two tables; and an answer by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        mean = PoolingType.MEAN
        self.plain = collection(table("a", ["user", "item"], dim=4, pooling=mean), table("b", ["item"], dim=8))
        self.weighed = collection(table("c", ["tag"], dim=4), weighted=True)
        self.layer = nn.Linear(4 + 4 + 8 + 4 + 1, 2)

    def forward(self, kjt: Any, price: Tensor) -> dict[str, Tensor]:
        pooled = torch.cat([self.plain(kjt).values(), self.weighed(kjt).values(), price], 1)
        click, buy = self.layer(pooled).unbind(1)
        return {"click": click, "buy": buy}


class Shifted(nn.Module):
    """Looks up other ids than it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = collection(table("a", ["user"]))

    def forward(self, kjt: Any) -> Tensor:
        shifted = KeyedJaggedTensor(keys=["user"], values=(kjt.values() + 1) % 100, lengths=kjt.lengths())
        pooled: Tensor = self.tables(shifted).values()
        return pooled.sum(1)


class Twice(Shifted):
    def forward(self, kjt: Any) -> Tensor:
        pooled: Tensor = self.tables(kjt).values() + self.tables(kjt).values()
        return pooled.sum(1)


class ByBatch(Shifted):
    """What it does depends on the size of the batch, which a trace takes for a number."""

    def forward(self, kjt: Any) -> Tensor:
        pooled: Tensor = self.tables(kjt).values()
        return pooled.sum(1) / pooled.shape[0] if pooled.shape[0] != 5 else pooled.sum(1).clamp(max=0.001)


class Nothing(nn.Module):
    def forward(self, kjt: Any) -> Tensor:
        return torch.ones(5)


def weight_of(sharded: Any, name: str) -> Tensor:
    """Of a table, what this process has."""
    weight = sharded.state_dict()[f"{COLLECTION}.embedding_bags.{name}.weight"]
    part: Tensor = weight.local_shards()[0].tensor
    return part.detach()


def train_one_of_two(rank: int, directory: Path) -> None:
    """A process of a training that shards one table by rows, and another one by columns."""
    config = directory / "embedding_config.yml"
    with process_group(directory, rank, 2):
        sharded = shard(
            make("DLRM"),
            {"t_user": row_wise(compute_kernel="fused"), "t_shared": column_wise(ranks=[0, 1], compute_kernel="fused")},
            2,
        )
        with IncrementalDumper(directory / "packets", shard_index=rank, embedding_config=config) as dumper:
            deltas = DeltaDumper(sharded, dumper)
            train_tables(sharded, ids(30, rank), numbers(30, rank))
            try:
                deltas.commit()
            except NotRepresentable as error:
                (directory / f"refused{rank}").write_text(str(error))
        torch.save(weight_of(sharded, "t_user").clone(), directory / f"rows{rank}")


def sequences(*tables: tuple[str, Sequence[str]], dim: int = 8, **settings: Any) -> EmbeddingCollection:
    """tables: of each its name and features."""
    configs = [
        EmbeddingConfig(name=name, embedding_dim=dim, num_embeddings=ROWS, feature_names=list(features))
        for name, features in tables
    ]
    return EmbeddingCollection(tables=configs, device=torch.device("cpu"), **settings)


LONGEST = 6
HISTORY_KEYS = ("history", "item", "user")


def history_ids(batch: int, seed: int, longest: int = LONGEST) -> KeyedJaggedTensor:
    """Histories of up to so many items, of which one is as long as that and one is empty; one item, and any number of users."""
    generator = torch.Generator().manual_seed(seed)
    histories = torch.randint(0, longest + 1, (batch,), generator=generator)
    histories[0], histories[-1] = longest, 0
    users = torch.randint(0, 4, (batch,), generator=generator)
    lengths = torch.cat([histories, torch.ones(batch, dtype=torch.int64), users])
    values = torch.randint(0, ROWS, (int(lengths.sum()),), generator=generator)
    return KeyedJaggedTensor(keys=list(HISTORY_KEYS), values=values, lengths=lengths)


class Histories(nn.Module):
    """Sequences of a table that two features share, pooled users, and the histories pooled as well, of another table."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.rows = sequences(("t_item", ["history", "item"]))
        self.pooled = collection(table("t_user", ["user"], dim=8), table("t_seen", ["history"], dim=8))
        self.over = nn.Linear(8 * 4 + NUMBERS, 1)

    def history(self, history: Any, item: Any) -> Tensor:
        raise NotImplementedError

    def forward(self, dense: Tensor, kjt: Any) -> Tensor:
        rows, pooled = self.rows(kjt), self.pooled(kjt)
        item = rows["item"].to_padded_dense(1).squeeze(1)
        parts = [self.history(rows["history"], item), item, pooled["user"], pooled["history"], dense]
        scores: Tensor = self.over(torch.cat(parts, 1)).squeeze(1)
        return scores


class Attention(Histories):
    """Over the history, whose places have embeddings, by the item."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(LONGEST, 8) * 0.1)

    def history(self, history: Any, item: Any) -> Tensor:
        padded = history.to_padded_dense(LONGEST) + self.places
        there = torch.arange(LONGEST) < history.lengths().unsqueeze(1)
        weights = (item.unsqueeze(1) * padded).sum(2).masked_fill(~there, -1e9).softmax(1)
        pooled: Tensor = ((weights * there).unsqueeze(2) * padded).sum(1)
        return pooled


class PaddedMean(Histories):
    """Padded to the longest sequence of the batch, whatever that is."""

    def history(self, history: Any, item: Any) -> Tensor:
        mean: Tensor = history.to_padded_dense().sum(1) / history.lengths().clamp(min=1).unsqueeze(1)
        return mean


class SumByOffsets(Histories):
    """Without padding: rows are added where the offsets say."""

    def history(self, history: Any, item: Any) -> Tensor:
        samples = torch.searchsorted(history.offsets(), torch.arange(history.values().shape[0]), right=True) - 1
        return torch.zeros_like(item).index_add(0, samples, history.values())


class ByLists(Histories):
    """A list of a tensor for each sample, so no trace of it fits another batch."""

    def history(self, history: Any, item: Any) -> Tensor:
        return torch.stack([rows.sum(0) for rows in history.to_dense()])


class ByMostOfBatch(Histories):
    """Divides by the longest sequence of the batch: the scores of a sample depend on others."""

    def history(self, history: Any, item: Any) -> Tensor:
        padded: Tensor = history.to_padded_dense()
        return padded.sum(1) / max(padded.shape[1], 1)


class ByLengthsOfIds(Histories):
    """Asks the ids how long sequences are, and not what was looked up."""

    def forward(self, dense: Tensor, kjt: Any) -> Tensor:
        scores: Tensor = super().forward(dense, kjt) / (1 + kjt["history"].lengths())
        return scores

    def history(self, history: Any, item: Any) -> Tensor:
        return torch.zeros_like(item)


class Regrouped(nn.Module):
    """Two collections, whose columns FBGEMM puts into another order. Both have a feature, and a table of one name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.one = collection(table("t", ["user", "item"], dim=4))
        self.two = collection(table("t", ["item", "tag"], dim=4))
        self.regroup = KTRegroupAsDict([["tag", "user"]], ["both"])
        self.layer = nn.Linear(24, 1)

    def forward(self, kjt: Any) -> Tensor:
        one, two = self.one(kjt), self.two(kjt)
        tags = KeyedTensor(["tag"], [4], two["tag"])
        both = self.regroup([one, tags])["both"]
        (other,) = KeyedTensor.regroup([KeyedTensor(["user"], [4], one["user"]), tags], [["tag", "user"]])
        scores: Tensor = self.layer(torch.cat([both, other, one["item"], two["item"]], 1)).squeeze(1)
        return scores


class Reordered(nn.Module):
    """Permutes the keys before it asks, which FBGEMM does, too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.tables = collection(table("a", ["user"]), table("b", ["tag"]))

    def forward(self, kjt: Any) -> Tensor:
        scores: Tensor = self.tables(kjt.permute([2, 0])).values().sum(1)
        return scores


class Changed(nn.Module):
    """Looks up ids that are made of those of the request."""

    def __init__(self, change: Any, rows: int = ROWS) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.tables, self.change = collection(table("a", ["user"], rows=rows)), change

    def forward(self, kjt: Any) -> Tensor:
        changed = KeyedJaggedTensor(keys=["user"], values=self.change(kjt["user"].values()), lengths=kjt["user"].lengths())
        scores: Tensor = self.tables(features=changed).values().sum(1)
        return scores


class OwnWeights(nn.Module):
    """Weighs ids by their place, whatever weights they come with."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = collection(table("a", ["user"]), weighted=True)

    def forward(self, kjt: Any) -> Tensor:
        ids = kjt["user"]
        weights = torch.arange(len(ids.values())).float()
        weighted = KeyedJaggedTensor(keys=["user"], values=ids.values(), lengths=ids.lengths(), weights=weights)
        scores: Tensor = self.tables(weighted).values().sum(1)
        return scores


class Squeezed(Shifted):
    """A request of one sample gets a number and no tensor of one number."""

    def forward(self, kjt: Any) -> Tensor:
        pooled: Tensor = self.tables(kjt).values()
        return pooled.sum(1, keepdim=True).squeeze()


class NinePlaces(Attention):
    """Has embeddings of six places, and fails for longer sequences."""

    def history(self, history: Any, item: Any) -> Tensor:
        places = self.places[torch.arange(history.to_padded_dense().shape[1])]
        return super().history(history, item) + places.sum() * 0


class Rows(nn.Module):
    """Sequences of one table, or of two that have a feature in common."""

    def __init__(self, other: str | None = None) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.rows = sequences(("t_item", ["history", "item"]))
        self.others = sequences((other, ["history"])) if other else None

    def forward(self, dense: Tensor, kjt: Any) -> Tensor:
        rows = self.rows(kjt)
        scores: Tensor = rows["history"].to_padded_dense(LONGEST).sum((1, 2)) + rows["item"].to_padded_dense(1).sum((1, 2))
        return scores


class AnyRowsSharder(EmbeddingCollectionSharder):  # type: ignore[misc]  # has no types here
    """As AnySharder."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return [kind.value for kind in ShardingType]


def shard_rows(model: Rows) -> DistributedModelParallel:
    """By rows."""
    sharder: Any = AnyRowsSharder(fused_params={"optimizer": EmbOptimType.EXACT_SGD, "learning_rate": 5.0})
    plan = {}
    for path in ("rows", "others"):
        if (collection := getattr(model, path)) is not None:
            how = {config.name: row_wise(compute_kernel="fused") for config in collection.embedding_configs()}
            plan[path] = construct_module_sharding_plan(
                collection, how, sharder=sharder, local_size=1, world_size=1, device_type="cpu"
            )
    return DistributedModelParallel(model, device=torch.device("cpu"), sharders=[sharder], plan=ShardingPlan(plan))


RAW_IDS = 2**40


class Managed(nn.Module):
    """Users in a table with managed collisions, which has seen some of them; items are pooled as ever."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(10)
        users = collection(table("t_user", ["user"], rows=20, dim=4))
        manager = MCHManagedCollisionModule(
            zch_size=20,
            device=torch.device("cpu"),
            input_hash_size=RAW_IDS,
            eviction_interval=1,
            eviction_policy=DistanceLFU_EvictionPolicy(),
            **settings,
        )
        managers = ManagedCollisionCollection({"t_user": manager}, users.embedding_bag_configs())
        self.users = ManagedCollisionEmbeddingBagCollection(users, managers)
        self.items = collection(table("t_item", ["item"], dim=4))
        self.layer = nn.Linear(8, 1)
        for seed in range(3):
            self(self.ids(4, seed))  # in training, so that the users have places

    def ids(self, batch: int, seed: int) -> KeyedJaggedTensor:
        """Users of whom all have been seen for the seeds 0 to 2, and items."""
        generator = torch.Generator().manual_seed(seed)
        users = torch.randint(0, RAW_IDS, (batch,), generator=generator)
        items = torch.randint(0, ROWS, (batch,), generator=generator)
        lengths = torch.ones(2 * batch, dtype=torch.int64)
        return KeyedJaggedTensor(keys=["user", "item"], values=torch.cat([users, items]), lengths=lengths)

    def forward(self, kjt: Any) -> Tensor:
        users, _ = self.users(kjt)
        scores: Tensor = self.layer(torch.cat([users["user"], self.items(kjt)["item"]], 1)).squeeze(1)
        return scores


class Mixed(nn.Module):
    """Pooled features and sequences, small enough to be quantised."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.pooled = collection(table("t_user", ["user"], dim=12), table("t_tag", ["tag"], dim=8))
        self.rows = sequences(("t_item", ["item"]))
        self.layer = nn.Linear(28, 1)

    def forward(self, kjt: Any) -> Tensor:
        items = self.rows(kjt)["item"].to_padded_dense(3).sum(1)
        scores: Tensor = self.layer(torch.cat([self.pooled(kjt).values(), items], 1)).squeeze(1)
        return scores


def quantized(model: nn.Module, kind: str) -> nn.Module:
    """By TorchRec, pooled features and sequences."""
    dtype = {"int8": torch.qint8, "int4": torch.quint4x2, "float16": torch.float16}[kind]
    found: nn.Module = quantize_embeddings(
        model,
        dtype,
        inplace=False,
        additional_qconfig_spec_keys=[EmbeddingCollection],
        additional_mapping={EmbeddingCollection: QuantizedSequences},
    )
    return found
