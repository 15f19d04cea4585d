"""A plain PyTorch model becomes a directory that serves it; what is not served as the model scores is refused, and says why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import plain_models
import pytest
import torch
from plain_models import COUNTRIES, DIM, LENGTH, USERS, Model
from written import read_checkpoint

from persia.config import load_embedding_config, load_global_config
from persia.errors import ExportError
from persia.export import Export, Feature, from_torch
from persia.export.features import resolve
from persia.export.proof import compare_embeddings
from persia.export.sample import Expected
from persia.signature import signature_of_archive
from persia.signs import hash_string, signs_of

IDS = np.arange(USERS) + 1000

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def features(**changed: Any) -> dict[str, Any]:
    """Those of the plain model, with some of them changed; None: without it."""
    all_of_them = {
        "user": Feature("users", ids=IDS),
        "tags": "tags",
        "history": Feature("items", length=LENGTH),
        "item": Feature("items"),
        "country": Feature("countries", ids=COUNTRIES),
    }
    return {name: value for name, value in (all_of_them | changed).items() if value is not None}


def export(out: Path, model: Model | None = None, mapping: dict[str, Any] | None = None, **changed: Any) -> Export:
    """All of it right, but for what a test changes."""
    ids, dense, inputs = plain_models.sample()
    arguments: dict[str, Any] = {"sample": ids, "dense": dense, "inputs": inputs, "dense_half": "dense", "name": "plain"}
    return from_torch(model or Model(), features() if mapping is None else mapping, out, **(arguments | changed))


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


class Biased(Model):
    """Its forward does something besides its dense half."""

    def forward(self, *inputs: Any) -> torch.Tensor:
        return super().forward(*inputs) + 0.01


class Padded(Model):
    """A padding that is not zero."""

    def __init__(self) -> None:
        super().__init__()
        torch.nn.init.ones_(self.items.weight)


def scaled(factor: float) -> Model:
    model = Model()
    with torch.no_grad():
        model.countries.weight *= factor
    return model


def without(*names: str) -> dict[str, Any]:
    return {name: ids for name, ids in plain_models.sample()[0].items() if name not in names}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "ids off by one",
        {"mapping": features(user=Feature("users", ids=IDS + 1))},
        "For feature `user` the model looks up other rows .* first in sample 0",
    ),
    (
        "an order that is not the model's",
        {"mapping": {name: features()[name] for name in ("user", "tags", "history", "country", "item")}},
        "in sample 0, .* in another order than `features` has",
    ),
    (
        "what may cause a difference",
        {"model": Biased()},
        "padding, .* (mean or sum, weights)".replace("(", r"\(").replace(")", r"\)"),
    ),
    (
        "a forgotten input",
        {"inputs": plain_models.sample()[2][:-2]},
        "`inputs` does not fit the model's forward, it has no `item` and no `country`: .* missing 2 required positional",
    ),
    (
        "an input too many",
        {"inputs": [*plain_models.sample()[2], 1]},
        "does not fit the model's forward, which takes `numbers`, .*, `country` .too many positional arguments.: .* 8 were given",
    ),
    ("a forward that does more", {"model": Biased()}, "does something besides its dense half"),
    ("ids that are no table's", {"mapping": features(user="users")}, "none of the sample's 6 ids of feature `user` has a row"),
    ("a module that is not there", {"mapping": features(user="user")}, "has no module `user`: did you mean `users`"),
    ("a dense half that is not there", {"dense_half": "top"}, "no module `top` .* it has users, tags"),
    ("no dense half", {"dense_half": None}, "name this module as `dense_half`"),
    ("no inputs", {"inputs": None}, "give `inputs`"),
    ("a sample without a feature", {"sample": without("item")}, "the sample has no feature `item`"),
    ("a sample with one more", {"sample": without() | {"users": IDS[:6]}}, "`sample` has `users`, .* mean `user`"),
    ("no ids of a feature", {"sample": without() | {"tags": [[]] * 6}}, "the sample has no id of feature `tags`"),
    ("too few ids", {"mapping": features(user=Feature("users", ids=IDS[1:]))}, "has 30 rows, and `ids` has 29"),
    (
        "an id twice",
        {"mapping": features(user=Feature("users", ids=IDS // 2))},
        "`user`: the table has two rows for the id 500",
    ),
    ("pooling left out", {"mapping": features(history=Feature("items"))}, "`history` has samples of several ids"),
    ("raw without a length", {"mapping": features(history=Feature("items", pooling="raw"))}, "raw feature needs a `length`"),
    ("a length of a sum", {"mapping": features(tags=Feature("tags", pooling="sum", length=2))}, "`length` belongs to .* raw"),
    ("an unknown pooling", {"mapping": features(tags=Feature("tags", pooling="max"))}, "expected a pooling of"),  # type: ignore[arg-type]
    ("NaN in a table", {"model": scaled(np.nan)}, "`country`: the row of id .* has NaN"),
    ("rows that f16 does not hold", {"model": scaled(1e6)}, "embeddings up to .* f16, .* holds at most 65504"),
    (
        "weights that are missing",
        {"mapping": features(tags=Feature("tags", weighted=True))},
        "`tags` is weighted, and `weights`",
    ),
    (
        "weights of a history",
        {"mapping": features(history=Feature("items", length=2, weighted=True))},
        "rows that stay apart have no weights",
    ),
    ("a padding of ones", {"model": Padded()}, "row 0 of the table is the padding, and is not zero"),
    ("a sample of bytes", {"sample": b""}, "expected the `sample` as a mapping of feature to ids, got bytes"),
    (
        "two ids of one row",
        {"mapping": features(user=Feature("users", ids=[*IDS[:-1], 1000 + (1 << 56) - 1]))},
        "the ids 1000 and 72057594037928935 fall on the same row",
    ),
    ("a table of text", {"mapping": features(user=3)}, "`user`: expected a module's path, .* got int"),
]


@pytest.mark.parametrize(("changed", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_named_and_leaves_nothing(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=re.compile(message, re.DOTALL)):
        export(tmp_path / "out", **changed)
    assert list(tmp_path.iterdir()) == []


def test_a_script_that_scores_otherwise_is_found(tmp_path: Path) -> None:
    class TwoFaced(torch.nn.Module):
        def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
            scores = embeddings[0].float().sum(1)
            return scores + 1e-3 if torch.jit.is_scripting() else scores  # type: ignore[attr-defined]

    message = "the served scores are not those of the dense half: in sample 0, the first of 6 of 6"
    with pytest.raises(ExportError, match=message):
        from_torch(TwoFaced(), {"user": (IDS, np.ones((USERS, DIM)))}, tmp_path / "out", sample={"user": IDS[:6]})
    assert list(tmp_path.iterdir()) == []


def test_embeddings_that_are_not_the_tables_are_named_with_the_feature_that_differs_most() -> None:
    used = resolve(Model(), features())[:2]
    values = [np.linspace(-1, 1, 12).reshape(3, 4), np.linspace(-2, 1, 12).reshape(3, 4)]
    expected = [Expected(each, np.zeros(1)) for each in values]
    served = [each.astype(np.float16) for each in values]
    compare_embeddings(used, expected, served, "wrong")
    served[0][0, 0] = np.nextafter(served[0][0, 0], np.float16(-2))  # the next f16 number is too far already
    with pytest.raises(ExportError, match=r"^wrong: feature `user` differs most, by up to 0\.000.*; first in sample 0"):
        compare_embeddings(used, expected, served, "wrong")
    served[1][2] = served[1][1]
    with pytest.raises(ExportError, match=r"^wrong: feature `tags` differs most, by up to 1.*; first in sample 2"):
        compare_embeddings(used, expected, served, "wrong")


def test_a_dense_half_that_torchscript_does_not_take_is_shown_with_its_line(tmp_path: Path) -> None:
    class Closed(torch.nn.Module):
        def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
            return embeddings[0][:, :DIM].sum(1)

    with pytest.raises(ExportError, match=r"TorchScript does not take the dense half Closed(?s:.*)\[:, :DIM\]"):
        from_torch(Closed(), {"user": (IDS, np.ones((USERS, DIM)))}, tmp_path / "out", sample={"user": IDS[:6]})


def test_a_dense_half_for_f32_alone_is_told_that_embeddings_are_f16(tmp_path: Path) -> None:
    class OnlyFloat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(DIM, 1)

        def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
            return self.layer(embeddings[0])  # type: ignore[no-any-return]

    with pytest.raises(ExportError, match="float16"):
        from_torch(OnlyFloat(), {"user": (IDS, np.ones((USERS, DIM)))}, tmp_path / "out", sample={"user": IDS[:6]})
