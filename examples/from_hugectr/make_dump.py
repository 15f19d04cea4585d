"""A dump as HugeCTR writes it and HPS loads it, and what was looked up in it: the files that from_hugectr.py brings.

usage: python examples/from_hugectr/make_dump.py DIRECTORY

HugeCTR runs on GPUs only, so this writes its sparse models by their layout (docs/formats/other-systems.md), with hashed keys.
The dense half is of torch, as users of `hps_torch` have it. Scores come from a dict of rows, without anything of persia-serve.
Your own files take the place of all this: keys, vectors, a dense half, and scores that HPS gave.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DIM, NUMBERS, ADS_OF_SAMPLE = 8, 4, 3
COUNTS = {"deep_user": 150, "deep_ad": 60}


class DenseHalf(nn.Module):
    """Takes numbers, and the vectors of each table: those of a sample's ads added up, as the combiner `sum` does."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(NUMBERS + 2 * DIM, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, dense: list[Tensor], embeddings: list[Tensor]) -> Tensor:
        joined = torch.cat([dense[0], embeddings[0].float(), embeddings[1].float()], 1)
        return torch.sigmoid(self.layers(joined)).squeeze(1)


def write_sparse_model(directory: Path, keys: Any, vectors: Any) -> None:
    """`key` and `emb_vector`, without any header: the dim follows from their sizes."""
    directory.mkdir(parents=True)
    (directory / "key").write_bytes(keys.astype("<i8").tobytes())
    (directory / "emb_vector").write_bytes(vectors.astype("<f4").tobytes())


def scores(half: DenseHalf, tables: dict[str, tuple[Any, Any]], users: Any, ads: Any, numbers: Any) -> Any:
    rows = {name: dict(zip(keys.tolist(), vectors, strict=True)) for name, (keys, vectors) in tables.items()}
    of_user = np.stack([rows["deep_user"][key] for key in users.tolist()])
    of_ads = np.stack([np.sum([rows["deep_ad"][key] for key in sample], axis=0) for sample in ads.tolist()])
    with torch.no_grad():
        return half([torch.from_numpy(numbers)], [torch.from_numpy(of_user), torch.from_numpy(of_ads)]).numpy()


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    half = DenseHalf().eval()
    tables = {
        name: (
            random.choice(2**62, count, replace=False) - 2**61,  # hashed: of any sign
            random.normal(size=(count, DIM)).astype(np.float32),
        )
        for name, count in COUNTS.items()
    }
    for name, (keys, vectors) in tables.items():
        write_sparse_model(out / f"{name}_sparse_1000.model", keys, vectors)
    users, ads = random.choice(tables["deep_user"][0], 50), random.choice(tables["deep_ad"][0], (50, ADS_OF_SAMPLE))
    numbers = random.normal(size=(50, NUMBERS)).astype(np.float32)
    before = scores(half, tables, users, ads, numbers)

    # What an update over Kafka has: keys and their new vectors, of some rows.
    keys, vectors = tables["deep_user"]
    changed = np.arange(0, len(keys), 2)
    vectors[changed] += random.normal(size=(len(changed), DIM)).astype(np.float32)
    torch.jit.save(torch.jit.script(half), out / "dense.pt")
    np.savez(out / "update.npz", keys=keys[changed], vectors=vectors[changed])
    after = scores(half, tables, users, ads, numbers)
    np.savez(out / "recorded.npz", users=users, ads=ads, numbers=numbers, scores=before, scores_updated=after)


if __name__ == "__main__":
    main()
