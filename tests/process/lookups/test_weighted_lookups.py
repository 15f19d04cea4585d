"""Strings, negative ids, weights, means and kept ids through real servers: by way of a middleware, past it, and without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from persia.batch import PersiaBatch
from persia.config import load_embedding_config
from persia.ctx import InferCtx
from persia.errors import FeatureError, InvalidInput
from persia.signs import signs_of
from persia.writers import write_checkpoint
from tests.support.middlewares import Deployment

CONFIG = """\
slots_config:
  city: {dim: 2}
  tags: {dim: 2, pooling: mean, weighted: true}
  bought: {dim: 2, pooling: mean}
  seen: {dim: 2, pooling: raw, sample_fixed_size: 2, keep: last}
"""
IDS: dict[str, list[object]] = {"city": ["Köln", "大阪"], "tags": [1, -2, 3], "bought": [1, 2, 3], "seen": [1, 2, 3, 4]}
ROWS = {name: np.arange(1, 2 * len(ids) + 1, dtype=np.float32).reshape(-1, 2) for name, ids in IDS.items()}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("weighted")
    (directory / "embedding_config.yml").write_text(CONFIG)
    slots = load_embedding_config(directory / "embedding_config.yml").slots
    write_checkpoint(directory / "ckpt", [(signs_of(ids, slots[name])[0], ROWS[name]) for name, ids in IDS.items()], shards=2)
    with Deployment(directory / "logs", directory, 2) as deployment:
        yield deployment


@pytest.fixture(params=["forwarded", "directed", "direct"])
def context(request: pytest.FixtureRequest, deployment: Deployment, tmp_path: Path) -> Iterator[InferCtx]:
    if request.param == "forwarded":
        with deployment.middleware.context() as context:
            yield context
    elif request.param == "directed":
        with InferCtx([deployment.middleware.address]) as context:
            context.wait_for_serving(60)
            yield context
    else:
        with InferCtx(deployment.addresses, embedding_config=deployment.embedding_config) as context:
            context.wait_for_serving(60)
            yield context


FEATURES = {"city": ["大阪", "Berlin"], "tags": [[1, -2], []], "bought": [[1, 3], [2]], "seen": [[1, 2, 3, 4], [1]]}


def test_tensors(context: InferCtx) -> None:
    batch = PersiaBatch.from_dict(FEATURES, {"age": [[0.5], [1]]}, weights={"tags": [[1, 3], []]})
    dense, embeddings, _ = context.prepare_features(context.get_embedding_from_data(batch))
    assert [tensor.tolist() for tensor in dense] == [[[0.5], [1]]]
    city, tags, bought, seen = (tensor.float().numpy() for tensor in embeddings)
    np.testing.assert_array_equal(city, [ROWS["city"][1], [0, 0]])
    np.testing.assert_allclose(tags, [ROWS["tags"][0] / 4 + ROWS["tags"][1] * 0.75, [0, 0]])
    np.testing.assert_array_equal(bought, [(ROWS["bought"][0] + ROWS["bought"][2]) / 2, ROWS["bought"][1]])
    np.testing.assert_array_equal(seen, [[[5, 6, 1], [7, 8, 1]], [[1, 2, 1], [0, 0, 0]]])


def test_mistakes_with_weights(context: InferCtx) -> None:
    for weights, problem in (
        ({}, "'tags': expected a weight for each id"),
        ({"bought": [[1, 1], [1]]}, "'bought': expected no weights"),
    ):
        batch = PersiaBatch.from_dict(FEATURES, weights={"tags": [[1, 3], []], **weights} if weights else None)
        with pytest.raises(InvalidInput, match=problem):
            context.get_embedding_from_data(batch)


def test_a_matrix_of_another_shape(context: InferCtx) -> None:
    batch = PersiaBatch.from_dict({"tags": [[1, 2], [3]]}, {"tags.weights": np.ones((2, 1), np.float32)})
    with pytest.raises((FeatureError, InvalidInput), match=r"'tags': expected weights of float32 and shape \(2, 2\)"):
        context.get_embedding_from_data(batch)
