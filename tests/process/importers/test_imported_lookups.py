"""TorchRec's tables, imported and served: 1,000 bags of each feature beside the sums of TorchRec's own collection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from persia.batch import IDTypeFeature, PersiaBatch
from persia.ctx import InferCtx
from persia.importers.command import import_command
from tests.support.golden import arrays_of
from tests.support.imported import TORCHREC
from tests.support.in_process import LocalDeployment

TABLE = "sparse_arch.embedding_bag_collection.embedding_bags.t_{}.weight"
RECORDED = arrays_of(TORCHREC / "bags.npz")
FEATURES = {"user": "sum", "item": "mean", "tag": "sum"}
Bags = list[npt.NDArray[np.uint64]]


@pytest.fixture(scope="module", params=[("torch", "state.pt", 1), ("torch-dcp", "dcp", 2)], ids=["one-shard", "two-shards"])
def context(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferCtx]:
    model = tmp_path_factory.mktemp("model")
    format, source, shards = request.param
    slots = "".join(f"  {name}: {{dim: 8, pooling: {pooling}}}\n" for name, pooling in FEATURES.items())
    tables = "".join(f"  {name}: {{table: {TABLE.format(name)}, pooling: {how}}}\n" for name, how in FEATURES.items())
    (model / "embedding_config.yml").write_text(f"slots_config:\n{slots}")
    (model / "tables.yml").write_text(f"slots:\n{tables}")
    arguments = [format, TORCHREC / source, model / "ckpt", "--shards", shards]
    arguments += ["--embedding-config", model / "embedding_config.yml", "--map", model / "tables.yml"]
    result = CliRunner().invoke(import_command, [str(argument) for argument in arguments])
    assert result.exit_code == 0 and "124 rows stand in the checkpoint as they were read" in result.output, result.output
    with LocalDeployment(model, shards) as deployment:
        yield deployment.direct()


def recorded_bags(name: str) -> Bags:
    ends = np.cumsum(RECORDED[f"{name}.lengths"], dtype=np.int64)
    return [ids.astype(np.uint64) for ids in np.split(RECORDED[f"{name}.ids"], ends[:-1])]


def look_up(context: InferCtx, name: str, bags: Bags) -> npt.NDArray[Any]:
    none = [np.empty(0, np.uint64)] * len(bags)
    batch = PersiaBatch([IDTypeFeature(other, bags if other == name else none) for other in FEATURES], requires_grad=False)
    features = context.prepare_features(context.get_embedding_from_bytes(batch.to_bytes()))
    embeddings: npt.NDArray[Any] = features.embeddings[list(FEATURES).index(name)].numpy()
    return embeddings


@pytest.mark.parametrize("name", FEATURES)
def test_bags_are_within_a_unit_of_the_last_place(name: str, context: InferCtx) -> None:
    """A batch adds the rows of a bag in the order in which the batch has their ids, TorchRec in that of the bag."""
    got, expected = look_up(context, name, recorded_bags(name)), RECORDED[f"{name}.vectors"].astype(np.float16)
    assert got.shape == expected.shape == (1000, 8)
    units = np.abs(got.view(np.int16).astype(int) - expected.view(np.int16))
    assert units.max() <= 1 and np.count_nonzero(units) < 8, np.count_nonzero(units)


@pytest.mark.parametrize("context", [("torch", "state.pt", 1)], ids=["one-shard"], indirect=True)
@pytest.mark.parametrize("name", ["user", "tag"])
def test_a_bag_alone_has_the_sum_of_torchrec_bit_for_bit(name: str, context: InferCtx) -> None:
    bags = recorded_bags(name)
    alone = [i for i, ids in enumerate(bags) if len(ids) == len(np.unique(ids))]
    assert len(alone) > 800
    got = np.concatenate([look_up(context, name, [bags[i]]) for i in alone])
    assert got.tobytes() == RECORDED[f"{name}.vectors"].astype(np.float16)[alone].tobytes()
