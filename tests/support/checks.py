"""A small deployment in files, with one feature of each kind, for tests of `persia-launcher check`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from click.testing import CliRunner

from persia import _core
from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.checking.archives import embeddings_of
from persia.checking.command import check
from persia.checking.scan import scan
from persia.config import EmbeddingConfig, parse_embedding_config
from persia.signature import DenseSignature, FeatureSignature, Signature
from persia.signs import signs_of
from persia.writers import write_checkpoint

Ids = npt.NDArray[np.uint64]
Content = dict[str, Any]

SLOTS: Content = {
    "user": {"dim": 4},
    "item": {"dim": 4},
    "tags": {"dim": 4},
    "history": {"dim": 4, "embedding_summation": False, "sample_fixed_size": 3},
    "query": {"dim": 8, "hash_stack_config": {"hash_stack_rounds": 2, "embedding_size": 50}},
    "city": {"dim": 8},
}
CONFIG: Content = {"feature_index_prefix_bit": 8, "slots_config": SLOTS, "feature_groups": {}}
SAMPLES = 16
WIDTH = 5  # of the dense tensor


def changed(**slots: Any) -> Content:
    """The config with other slots: a mapping replaces what it names of a slot, None takes the slot out."""
    merged = {name: {**SLOTS.get(name, {}), **slots.get(name, {})} for name in SLOTS if slots.get(name, {}) is not None}
    return {**CONFIG, "slots_config": merged}


def reordered(*names: str) -> Content:
    """The config with its slots in another order; a name that is new makes a slot of dim 4."""
    return {**CONFIG, "slots_config": {name: SLOTS.get(name, {"dim": 4}) for name in names}}


def table_ids() -> dict[str, Ids]:
    """The ids that have rows: large numbers, counted ones, and hashes of strings."""
    generator = np.random.default_rng(7)

    def large() -> Ids:
        return generator.integers(1 << 40, 1 << 41, 200, np.uint64)

    return {
        "user": large(),
        "item": large(),
        "tags": np.arange(100, dtype=np.uint64),
        "history": large(),
        "query": np.arange(3000, dtype=np.uint64),
        "city": generator.integers(1, (1 << 64) - 1, 200, np.uint64),
    }


def parse(content: Content) -> EmbeddingConfig:
    return parse_embedding_config(yaml.safe_dump(content, sort_keys=False))


@dataclass
class Files:
    """What a user has on disk. The table is as `CONFIG` says; every method writes what is to be checked anew."""

    directory: Path

    @property
    def checkpoint(self) -> Path:
        return self.directory / "checkpoint"

    def write(self) -> None:
        """All of it, as it should be."""
        self.write_table()
        self.write_config(CONFIG)
        self.write_sample(self.ids())
        self.global_config()

    def global_config(self, servers: int = 2, **server: Any) -> None:
        addresses = [f"127.0.0.1:{18888 + i}" for i in range(servers)]
        infer = {"servers": addresses, "embedding_checkpoint": str(self.checkpoint)}
        content = {"common_config": {"infer_config": infer}, "embedding_parameter_server_config": server}
        (self.directory / "global_config.yaml").write_text(yaml.safe_dump(content))

    def write_config(self, content: Content) -> None:
        (self.directory / "embedding_config.yml").write_text(yaml.safe_dump(content, sort_keys=False))

    def write_table(self, ids: Mapping[str, Ids] | None = None, signs: Mapping[str, Ids] | None = None) -> None:
        """`signs` takes the place of those that `CONFIG` makes of a feature's ids."""
        generator = np.random.default_rng(1)
        blocks = []
        for name, slot in parse(CONFIG).slots.items():
            known = (signs or {}).get(name)
            made = np.unique(signs_of((ids or table_ids())[name], slot)) if known is None else np.unique(known)
            blocks.append((made, generator.normal(0, 1, (len(made), slot.dim)).astype(np.float32)))
        write_checkpoint(self.checkpoint, blocks, shards=2, overwrite=True)

    def ids(self) -> dict[str, list[Ids]]:
        """Of a sample: two of each feature, three of the history."""
        generator = np.random.default_rng(3)
        return {
            name: [generator.choice(ids, 3 if name == "history" else 2, replace=False) for _ in range(SAMPLES)]
            for name, ids in table_ids().items()
        }

    def write_sample(
        self, ids: Mapping[str, Sequence[Ids]], dense: Sequence[NonIDTypeFeature] | None = None, **more: Any
    ) -> None:
        if dense is None:
            dense = [NonIDTypeFeature(np.random.default_rng(5).random((SAMPLES, WIDTH), np.float32), "numbers")]
        features = [IDTypeFeature(name, list(samples)) for name, samples in ids.items()]
        batch = PersiaBatch(features, non_id_type_features=list(dense), requires_grad=False, **more)
        (self.directory / "sample.bin").write_bytes(batch.to_bytes())

    def check(self, *arguments: str) -> Checked:
        """`persia-launcher check` of all of it."""
        paths = {"global-config": "global_config.yaml", "embedding-config": "embedding_config.yml", "sample": "sample.bin"}
        options = [text for option, name in paths.items() for text in (f"--{option}", str(self.directory / name))]
        result = CliRunner().invoke(check, [*options, "--json", *arguments], catch_exceptions=False)
        return Checked(result.exit_code, json.loads(result.stdout))

    def embeddings(self, table: EmbeddingConfig | None = None) -> dict[str, npt.NDArray[np.float16]]:
        """What a lookup of the sample gives by the config on disk, or by another one."""
        config = table or parse_embedding_config((self.directory / "embedding_config.yml").read_bytes())
        batch = _core.decode_batch((self.directory / "sample.bin").read_bytes())
        wanted = [signs_of(np.array(f.ids), config.slots[f.name]).reshape(-1) for f in batch.features if f.name in config.slots]
        files = sorted(self.checkpoint.glob("s*/*.emb"))
        rows = scan(files, [], config.feature_index_prefix_bit, 9, np.unique(np.concatenate(wanted)), 60.0, 2)
        return embeddings_of(batch, config, rows.found)


@dataclass
class Checked:
    """What the command ended with, and its JSON."""

    code: int
    content: Content

    def of(self, state: str) -> list[str]:
        """`area subject: text -> advice` of each finding in a state."""
        found = self.content["findings"]
        return [f"{f['area']} {f['subject']}: {f['text']} -> {f['advice']}" for f in found if f["state"] == state]


def signature_of(content: Content, width: int = WIDTH) -> Signature:
    """That of a model which takes all features of a config, and one dense tensor."""
    config = parse(content)
    features = tuple(FeatureSignature.of(slot) for slot in config.slots.values())
    dense = (DenseSignature(name="numbers", shape=(width,), dtype="float32"),)
    return Signature(features=features, dense=dense, embedding_config=config.fingerprint)
