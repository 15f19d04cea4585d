"""From sparse models of HugeCTR to scores, and rows that change while they are served. Each step is a function.

usage: python examples/from_hugectr/from_hugectr.py MADE [DIRECTORY]

MADE is what make_dump.py wrote, or has files of your own by the same names.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from deployment import launch, served, wait_for_scores, write_global_config

from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, NonIDTypeFeature, PersiaBatch
from persia.writers import IncrementalDumper

# Keys are hashed, so as few of their bits as can be go to groups: docs/importing.md#keys.
CONFIG = """
feature_index_prefix_bit: 2
slots_config:
  user: {dim: 8, pooling: sum}
  ad: {dim: 8, pooling: sum}
"""
TABLES = """
slots:
  user: {table: deep_user_sparse_1000.model}
  ad: {table: deep_ad_sparse_1000.model, pooling: sum}
"""


def batch_of(recorded: Any) -> PersiaBatch:
    """A request. Keys are the same 64 bits without a sign."""
    features: list[IDTypeFeature | IDTypeFeatureWithSingleID] = [
        IDTypeFeatureWithSingleID("user", recorded["users"].view(np.uint64)),
        IDTypeFeature("ad", list(recorded["ads"].view(np.uint64))),
    ]
    return PersiaBatch(features, [NonIDTypeFeature(recorded["numbers"], name="numbers")], requires_grad=False)


def pack(made: Path, out: Path, batch: PersiaBatch) -> None:
    """The checkpoint of the tables, and the archive of the dense half."""
    config, tables, sample = (out / name for name in ("embedding_config.yml", "tables.yml", "sample.bin"))
    config.write_text(CONFIG)
    tables.write_text(TABLES)
    sample.write_bytes(batch.to_bytes())
    of_config = ("--embedding-config", config)
    launch("import", "hugectr", made, out / "checkpoint", *of_config, "--map", tables, "--shards", "1")
    launch("archive", "--model", made / "dense.pt", "--name", "ads", "--out", out / "store", "--sample", sample, *of_config)
    write_global_config(out)


def commit_update(made: Path, out: Path) -> int:
    """What HPS takes from Kafka, keys and vectors, as a packet."""
    update = np.load(made / "update.npz")
    with IncrementalDumper(out / "packets", embedding_config=out / "embedding_config.yml") as dumper:
        dumper.commit_feature("user", update["keys"].view(np.uint64), update["vectors"])
    return len(update["keys"])


def main() -> None:
    made = Path(sys.argv[1])
    out = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="from-hugectr-"))
    out.mkdir(parents=True, exist_ok=True)
    recorded = np.load(made / "recorded.npz")
    batch = batch_of(recorded)
    pack(made, out, batch)
    print(f"the tables are imported to {out / 'checkpoint'}, and the dense half is in {out / 'store'}", flush=True)
    with served(out, "ads") as client:
        print(f"served with the recorded scores: largest difference {wait_for_scores(client, batch, recorded['scores']):.1e}")
        rows = commit_update(made, out)
        moved = float(np.abs(recorded["scores_updated"] - recorded["scores"]).max())
        apart = wait_for_scores(client, batch, recorded["scores_updated"])
        print(f"{rows} rows were updated, and are served: scores moved by up to {moved:.2f}; difference {apart:.1e}")


if __name__ == "__main__":
    main()
