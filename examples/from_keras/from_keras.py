"""From files of Keras to scores, and rows that training changes while they are served. Each step is a function.

usage: python examples/from_keras/from_keras.py MADE [DIRECTORY]

MADE is what train.py wrote. Needs no Keras and no TensorFlow, but persia-serve with its extra `keras`, and torch.
"""

from __future__ import annotations

import io
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1]))
from deployment import launch, served, wait_for_scores, write_global_config

from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, NonIDTypeFeature, PersiaBatch
from persia.writers import IncrementalDumper

CONFIG = """
slots_config:
  user: {dim: 8, pooling: sum}
  tags: {dim: 8, pooling: sum}
"""
# By the names of the layers, as `persia-launcher import keras model.keras proposal --propose` lists them.
TABLES = """
slots:
  user: {table: user_table}
  tags: {table: tag_table}
"""
LAYERS = {"user": "user_table", "tags": "tag_table"}


class DenseHalf(nn.Module):
    """What the model does with its numbers and embeddings, in the order of its `concatenate`."""

    def __init__(self, weights: dict[str, list[Any]]) -> None:
        super().__init__()
        self.hidden, self.score = linear(weights["hidden"]), linear(weights["score"])

    def forward(self, dense: list[Tensor], embeddings: list[Tensor]) -> Tensor:
        joined = torch.cat([dense[0], embeddings[0].float(), embeddings[1].float()], 1)
        return torch.sigmoid(self.score(torch.relu(self.hidden(joined)))).squeeze(1)


def linear(variables: list[Any]) -> nn.Linear:
    """A Dense layer of Keras, whose kernel is (in, out)."""
    kernel, bias = variables
    layer = nn.Linear(*kernel.shape)
    layer.load_state_dict({"weight": torch.from_numpy(kernel.T.copy()), "bias": torch.from_numpy(bias)})
    return layer


def weights_of(path: Path) -> dict[str, list[Any]]:
    """The variables of each layer in a .keras file, which is a zip archive. Keras has noted the names of layers beside them."""
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
        groups = [layer["vars"] for layer in file["layers"].values() if "vars" in layer]
        return {str(group.attrs["name"]): [group[number][:] for number in sorted(group)] for group in groups if len(group)}


def batch_of(recorded: Any) -> PersiaBatch:
    """A request. Ids are the row numbers that the Embedding layers took."""
    tags = recorded["tags"].astype(np.uint64)
    features: list[IDTypeFeature | IDTypeFeatureWithSingleID] = [
        IDTypeFeatureWithSingleID("user", recorded["user"].astype(np.uint64)),
        IDTypeFeature("tags", list(tags)),
    ]
    return PersiaBatch(features, [NonIDTypeFeature(recorded["numbers"], name="numbers")], requires_grad=False)


def pack(made: Path, out: Path, batch: PersiaBatch) -> None:
    """The checkpoint of the tables, and the archive of the dense half."""
    config, tables, sample, half = (out / name for name in ("embedding_config.yml", "tables.yml", "sample.bin", "dense.pt"))
    config.write_text(CONFIG)
    tables.write_text(TABLES)
    sample.write_bytes(batch.to_bytes())
    torch.jit.save(torch.jit.script(DenseHalf(weights_of(made / "model.keras")).eval()), half)
    of_config = ("--embedding-config", config)
    launch("import", "keras", made / "model.keras", out / "checkpoint", *of_config, "--map", tables, "--shards", "1")
    launch("archive", "--model", half, "--name", "ctr", "--out", out / "store", "--sample", sample, *of_config)
    write_global_config(out)


def commit_changed_rows(made: Path, out: Path) -> int:
    """The rows that training changed, as a packet. A training loop knows them, and need not compare."""
    before, after = weights_of(made / "model.keras"), weights_of(made / "trained_on.keras")
    count = 0
    with IncrementalDumper(out / "packets", embedding_config=out / "embedding_config.yml") as dumper:
        for feature, layer in LAYERS.items():
            old, new = (weights[layer][0] for weights in (before, after))
            changed = np.flatnonzero((old != new).any(axis=1)).astype(np.uint64)
            dumper.commit_feature(feature, changed, new[changed])
            count += len(changed)
    return count


def main() -> None:
    made = Path(sys.argv[1])
    out = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="from-keras-"))
    out.mkdir(parents=True, exist_ok=True)
    recorded = np.load(made / "recorded.npz")
    batch = batch_of(recorded)
    pack(made, out, batch)
    print(f"the tables are imported to {out / 'checkpoint'}, and the dense half is in {out / 'store'}", flush=True)
    with served(out, "ctr") as client:
        print(f"served with Keras' own scores: largest difference {wait_for_scores(client, batch, recorded['scores']):.1e}")
        rows = commit_changed_rows(made, out)
        moved = float(np.abs(recorded["scores_trained_on"] - recorded["scores"]).max())
        apart = wait_for_scores(client, batch, recorded["scores_trained_on"])
        print(f"{rows} rows were trained further, and are served: scores moved by up to {moved:.2f}; difference {apart:.1e}")


if __name__ == "__main__":
    main()
