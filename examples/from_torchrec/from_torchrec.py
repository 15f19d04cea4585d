"""From a TorchRec model to scores, and rows that training changes while it is served. Each step is a function.

usage: python examples/from_torchrec/from_torchrec.py [DIRECTORY]

Needs TorchRec: docs/coming-from-torchrec.md says how it is installed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as distributed
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict_saver import save
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor, PoolingType
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise
from torchrec.distributed.types import ShardingPlan, ShardingType
from torchrec.models.dlrm import DLRM

sys.path.append(str(Path(__file__).parents[1]))
from deployment import launch, served, wait_for_scores, write_global_config

from persia.client.predict import Client
from persia.torchrec import DeltaDumper, Split, split
from persia.writers import IncrementalDumper

ROWS, DIM, NUMBERS, FEATURES = 1000, 16, 13, ("user", "item", "tag")
COLLECTION = "sparse_arch.embedding_bag_collection"


def new_model() -> DLRM:
    """Items and tags share a table."""
    tables = [("t_user", ["user"]), ("t_item", ["item", "tag"])]
    configs = [
        EmbeddingBagConfig(
            name=name,
            embedding_dim=DIM,
            num_embeddings=ROWS,
            feature_names=features,
            pooling=PoolingType.SUM,
            init_fn=nn.init.normal_,
        )
        for name, features in tables
    ]
    collection = EmbeddingBagCollection(device=torch.device("cpu"), tables=configs)
    return DLRM(collection, NUMBERS, [32, DIM], [32, 1])


def samples(count: int, seed: int) -> tuple[Tensor, KeyedJaggedTensor]:
    """As a TorchRec user has them: dense numbers, and ids of each feature."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 4, (len(FEATURES) * count,), generator=generator)
    values = torch.randint(0, ROWS, (int(lengths.sum()),), generator=generator)
    kjt = KeyedJaggedTensor(keys=list(FEATURES), values=values, lengths=lengths)
    return torch.randn(count, NUMBERS, generator=generator), kjt


class RowSharder(EmbeddingBagCollectionSharder):  # type: ignore[misc]  # has no types
    """Shards by rows on a CPU, too, where TorchRec does not offer it."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return [ShardingType.ROW_WISE.value]


def shard(model: DLRM) -> DistributedModelParallel:
    """The optimizer of the tables is part of them, as for training at scale."""
    sharder = RowSharder(fused_params={"optimizer": EmbOptimType.EXACT_SGD, "learning_rate": 100.0})
    how = {name: row_wise(compute_kernel="fused") for name in ("t_user", "t_item")}
    tables = construct_module_sharding_plan(
        model.get_submodule(COLLECTION), how, sharder=sharder, local_size=1, world_size=1, device_type="cpu"
    )
    return DistributedModelParallel(
        model, device=torch.device("cpu"), sharders=[sharder], plan=ShardingPlan({COLLECTION: tables})
    )


def train_tables(model: DistributedModelParallel, steps: int, seed: int) -> None:
    """Makes every third sample a click. The dense half stays as it is, so what changes can go to packets."""
    model.train()
    for step in range(steps):
        dense, kjt = samples(64, seed + step)
        wanted = (torch.arange(64) % 3 == 0).float()
        nn.functional.binary_cross_entropy_with_logits(model(dense, kjt).squeeze(1), wanted).backward()
        model.zero_grad()


def own_scores(model: DistributedModelParallel, dense: Tensor, kjt: KeyedJaggedTensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        scores: Tensor = torch.sigmoid(model(dense, kjt))
    return scores


def pack(model: DistributedModelParallel, halves: Split, out: Path) -> None:
    """The checkpoint of the tables, and the archive of the dense half."""
    dense_half = halves.write(out)
    save(model.state_dict(), checkpoint_id=out / "dcp")
    config = ("--embedding-config", out / "embedding_config.yml")
    launch("import", "torch-dcp", out / "dcp", out / "checkpoint", *config, "--map", out / "tables.yml", "--shards", "1")
    launch("archive", "--model", dense_half, "--name", "dlrm", "--out", out / "store", "--sample", out / "sample.bin", *config)
    write_global_config(out)


def serve_equal(client: Client, model: DistributedModelParallel, halves: Split) -> float:
    """Waits until the scores that are served are the model's own; returns how far they are apart."""
    dense, kjt = samples(200, 99)
    return wait_for_scores(client, halves.batch(kjt, dense), own_scores(model, dense, kjt).numpy())


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="from-torchrec-"))
    out.mkdir(parents=True, exist_ok=True)
    os.environ.update(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
    distributed.init_process_group("gloo", init_method=f"file://{out}/group", rank=0, world_size=1)
    torch.manual_seed(1)
    plain = new_model()
    halves = split(plain, samples(16, 1), output=nn.Sigmoid())
    show("the model is split", f"its dense half is {halves.way}; float16 would move scores by up to {halves.difference:.1e}")

    model = shard(plain)
    train_tables(model, steps=30, seed=1000)
    pack(model, halves, out)
    show(f"its tables are imported to {out / 'checkpoint'}, and its dense half is in {out / 'store'}", "")

    with served(out, "dlrm") as client:
        show("it is served, with the model's own scores", f"largest difference {serve_equal(client, model, halves):.1e}")

        dense, kjt = samples(200, 99)
        before = own_scores(model, dense, kjt)
        with IncrementalDumper(out / "packets", embedding_config=out / "embedding_config.yml") as dumper:
            deltas = DeltaDumper(model, dumper)
            train_tables(model, steps=30, seed=2000)
            rows = deltas.commit()
        apart = serve_equal(client, model, halves)
        moved = float((own_scores(model, dense, kjt) - before).abs().max())
        show(f"{rows} rows were trained further, and are served", f"scores moved by up to {moved:.2f}; difference {apart:.1e}")
    distributed.destroy_process_group()


def show(step: str, text: str) -> None:
    print(f"\n== {step}\n{text}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
