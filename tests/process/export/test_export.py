"""A plain PyTorch model becomes a directory that serves it, with the model's own scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from persia.config import load_embedding_config, load_global_config
from persia.errors import ExportError
from persia.export import Export, Feature, from_torch
from persia.signs import hash_string, signs_of
from tests.support import plain_models
from tests.support.exports import IDS, export, features
from tests.support.plain_models import COUNTRIES, DIM, LENGTH, USERS, Model
from tests.support.signed_models import signature_of_archive
from tests.support.written import read_checkpoint

pytestmark = [pytest.mark.whole_way, pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")]


def partly_trained() -> Model:
    """One of its modules is in eval mode, as where a part of a model is frozen."""
    model = Model()
    model.users.eval()
    return model


@pytest.fixture(scope="module")
def plain() -> Model:
    return partly_trained()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, plain: Model) -> Export:
    return export(tmp_path_factory.mktemp("export") / "out", plain, shards=2)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Of tables that are no modules, with a sample that shows little."""

    class Sum(torch.nn.Module):
        def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
            return embeddings[0].float().sum(1) + embeddings[1].float().sum(1) + embeddings[3].float().sum(1)

    rows = np.ones((2, DIM), np.float32)
    return from_torch(
        Sum(),
        {
            "tags": Feature({"a": rows[0], "b": rows[1]}, pooling="mean"),
            "hashed": (np.array([hash_string("x"), hash_string("y")], np.uint64), rows),
            "seen": Feature(rows.copy(), length=1),
            "maybe": {7: rows[0]},
        },
        tmp_path_factory.mktemp("once") / "out",
        sample={"tags": [["a"], []], "hashed": ["x", "y"], "seen": [[0, 1], []], "maybe": [[7], []]},
    )


def test_the_served_scores_are_the_models_own(exported: Export) -> None:
    assert exported.proof.samples == plain_models.SAMPLES
    assert 0 < exported.proof.difference < 1e-3  # f16 cannot be free, nor cost more
    assert all(found == ids for ids, found in exported.proof.ids.values())
    assert "the served scores of 6 samples are the model's own" in str(exported.proof)


def test_the_proof_says_what_the_sample_did_not_try(exported: Export, once: Export) -> None:
    keep = f"feature `history`: no sample has more than {LENGTH} ids: `keep` was not tried"
    assert exported.proof.not_tried == (keep,)
    assert str(exported.proof).endswith(f"Not tried: {keep}")
    assert once.proof.not_tried == ("feature `tags`: no sample has more than one id: pooling was not tried",)


def test_the_signature_says_which_features_are_single_and_what_their_ids_are(exported: Export, once: Export) -> None:
    signature = signature_of_archive(exported.archive)
    assert signature is not None
    assert {feature.name: (feature.single, feature.ids) for feature in signature.features} == {
        "user": (True, "integer"),
        "tags": (False, "integer"),
        "history": (False, "integer"),
        "item": (False, "integer"),  # there is a padding, so a sample may be without
        "country": (True, "text"),
    }
    signature = signature_of_archive(once.archive)
    assert signature is not None
    assert {feature.name: (feature.single, feature.ids) for feature in signature.features} == {
        "tags": (False, "text"),
        "hashed": (True, None),  # callers send text for what the table has as numbers
        "seen": (False, "integer"),
        "maybe": (False, "integer"),  # the sample has none
    }


def test_the_directory_has_all_that_serves_the_model(exported: Export) -> None:
    for path in (exported.archive, exported.sample, exported.embedding_config, exported.checkpoint, exported.incremental_dir):
        assert path.exists() and path.is_relative_to(exported.directory)
    config = load_global_config(exported.global_config)
    assert config.common_config.infer_config.embedding_checkpoint == str(exported.checkpoint)
    assert config.embedding_parameter_server_config.incremental_dir == str(exported.incremental_dir)
    assert [path.name for path in exported.directory.parent.iterdir()] == ["out"]


def test_each_row_is_under_the_sign_of_its_raw_id_and_padding_has_none(exported: Export) -> None:
    slots = load_embedding_config(exported.embedding_config).slots
    assert slots["history"].prefix == slots["item"].prefix
    assert exported.rows == {"user": USERS, "tags": 20, "history": 24, "item": 24, "country": len(COUNTRIES)}
    rows = read_checkpoint(exported.checkpoint)
    assert len(rows) == USERS + 20 + 24 + len(COUNTRIES)
    model = Model()
    for name, table, ids in (
        ("user", model.users, IDS),
        ("item", model.items, np.arange(25)),
        ("country", model.countries, np.array([hash_string(text) for text in COUNTRIES], np.uint64)),
    ):
        for sign, weight in list(zip(signs_of(ids, slots[name])[0].tolist(), table.weight.detach().numpy(), strict=True))[1:]:
            np.testing.assert_array_equal(np.frombuffer(rows[sign], np.float32), weight)
    assert int(signs_of(np.array([0]), slots["item"])[0, 0]) not in rows


def test_tables_from_mappings_arrays_and_parquet_are_the_same(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    model = Model()
    users, items = (table.weight.detach().numpy() for table in (model.users, model.items))
    pq.write_table(pa.table({"id": IDS, "vector": list(users)}), tmp_path / "users.parquet")
    pairs = (np.arange(1, 25), items[1:])
    mapping = features(
        user=Feature(tmp_path / "users.parquet"),
        history=Feature(pairs, length=LENGTH),
        item=Feature(pairs),
        tags=Feature(model.tags.weight, pooling="mean"),
        country=dict(zip(COUNTRIES, model.countries.weight.detach(), strict=True)),
    )
    exported = export(tmp_path / "out", model, mapping)
    assert exported.rows["user"] == USERS
    assert exported.proof.difference < 1e-3


def test_weights_square_roots_several_outputs_and_a_script(tmp_path: Path) -> None:
    class Two(torch.nn.Module):
        def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> dict[str, torch.Tensor]:
            rows = embeddings[0].float()
            return {"click": rows.sum(1) + dense[0][:, 0], "buy": rows[:, :2] - embeddings[1].float()[:, :2]}

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.words, self.dense = torch.nn.EmbeddingBag(20, DIM, mode="sum"), Two()

        def forward(self, ids: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor, numbers: torch.Tensor) -> Any:
            once = self.words(ids, offsets) / torch.tensor([[2.0], [1.0], [3.0]]).sqrt()  # how many ids a sample has
            return self.dense([numbers], [self.words(ids, offsets, per_sample_weights=weights), once])

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "of_before").touch()
    numbers = np.ones((3, 2), np.float32)
    words, weights = [[3, 4], [], [5, 3, 3]], [[0.5, 2.0], [], [0.25, 1.0, -3.0]]
    flat = torch.tensor([weight for each in weights for weight in each])
    exported = from_torch(
        Whole(),
        {"words": Feature("words", weighted=True), "once": Feature("words", pooling="sqrtn")},
        tmp_path / "out",
        sample={"words": words, "once": words},
        weights={"words": weights},
        dense={"numbers": numbers},
        inputs=[torch.tensor([3, 4, 5, 3, 3]), torch.tensor([0, 2, 2]), flat, torch.from_numpy(numbers)],
        dense_half=torch.jit.script(Two()),
        overwrite=True,
    )
    assert exported.proof.samples == 3 and exported.proof.difference < 1e-2
    assert exported.archive.exists() and not (tmp_path / "out" / "of_before").exists()


def test_the_model_is_left_as_it_was(plain: Model, exported: Export) -> None:
    fresh = partly_trained()
    assert [module.training for module in plain.modules()] == [module.training for module in fresh.modules()]
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in plain.state_dict().items())


def test_what_is_there_is_not_replaced(exported: Export) -> None:
    with pytest.raises(ExportError, match="is there already: choose another directory, or say overwrite=True"):
        export(exported.directory)
