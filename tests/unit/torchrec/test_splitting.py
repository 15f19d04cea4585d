"""`split` of models with sequences, shared features, changed ids and regrouped columns, and what it refuses."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from persia.config import parse_embedding_config
from persia.errors import ExportError, FeatureError

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("torchrec") is None, reason="TorchRec is not installed: `make torchrec` does it"
    ),
    pytest.mark.filterwarnings("ignore"),  # TorchRec's own
]

ROOM = {"history@t_item": 6, "item": 1}


@pytest.fixture(scope="module")
def rec() -> Any:
    return importlib.import_module("tests.support.torchrec_models")


def split_histories(rec: Any, kind: str, **settings: Any) -> Any:
    model = getattr(rec, kind)()
    return model, rec.split(model, (rec.numbers(5, 1), rec.history_ids(5, 1)), max_length=ROOM, **settings)


def looked_up(model: Any, kjt: Any, slots: Any) -> list[Tensor]:
    """What servers would give."""
    jagged = importlib.import_module("persia.torchrec.jagged")
    found = []
    for slot in slots:
        collection = model.get_submodule(slot.table.partition(".")[0])
        answer = collection(kjt)[slot.embedding]
        found.append(answer if slot.room is None else jagged.raw_of(answer, slot.room))
    return found


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("Attention", "traced"),
        ("Attention", "exported"),
        ("PaddedMean", "traced"),
        ("PaddedMean", "exported"),
        ("SumByOffsets", "traced"),
    ],
)
def test_a_dense_half_takes_sequences_of_any_length(rec: Any, kind: str, way: str, tmp_path: Path) -> None:
    model, halves = split_histories(rec, kind, way=way)
    path = halves.write(tmp_path)
    half = torch.export.load(path).module() if way == "exported" else torch.jit.load(str(path))
    for batch, longest in ((1, 6), (9, 2), (4, 6)):
        dense, kjt = rec.numbers(batch, 2), rec.history_ids(batch, 2, longest)
        with torch.no_grad():
            found = half([dense], looked_up(model, kjt, halves.slots))
            torch.testing.assert_close(found, model.eval()(dense, kjt), atol=1e-6, rtol=1e-6)


def test_what_stands_in_the_files_for_sequences(rec: Any) -> None:
    _, halves = split_histories(rec, "Attention", embeddings="f16")
    slots = halves.embedding_config["slots_config"]
    assert slots["history@t_item"] == {"dim": 8, "pooling": "raw", "sample_fixed_size": 6, "keep": "all"}
    assert slots["history@t_seen"] == {"dim": 8, "pooling": "sum"}
    assert halves.embedding_config["feature_groups"]["history@t_item"] == ["history@t_item", "item"]
    assert halves.table_map["slots"]["item"] == {"table": "rows.embeddings.t_item.weight", "pooling": "none"}
    assert halves.features == {"history@t_item": "history", "item": "item", "user": "user", "history@t_seen": "history"}
    assert 0 < halves.difference < 1e-2


def test_scores_are_equal_unless_somebody_asks_for_float16(rec: Any) -> None:
    _, halves = split_histories(rec, "Attention")
    assert {slot["output"] for slot in halves.embedding_config["slots_config"].values()} == {"f32"}
    assert halves.difference > 0  # what float16 would cost is said in any case
    with pytest.raises(ExportError, match="expected embeddings to be f32 or f16, got 'f8'"):
        split_histories(rec, "Attention", embeddings="f8")


def test_a_batch_with_too_long_a_sequence_is_refused(rec: Any) -> None:
    _, halves = split_histories(rec, "Attention")
    with pytest.raises(FeatureError, match="'history@t_item': sample 0 has 9 ids, and may have 6"):
        halves.batch(rec.history_ids(4, 3, longest=9), rec.numbers(4, 3))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ByLists", "no way leads to the dense half of ByLists: scripted: .*; traced: .*; exported: "),
        ("ByMostOfBatch", "the scores of a sample depend on what else is in its batch: its scores of sample"),
        ("ByLengthsOfIds", "uses the ids of a request, their lengths or their weights beside its embeddings"),
    ],
)
def test_what_a_sequence_model_may_not_do_is_refused(rec: Any, kind: str, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        split_histories(rec, kind)


@pytest.mark.parametrize(
    ("max_length", "words"),
    [
        (None, "`history@t_item` is a sequence, of an EmbeddingCollection: say by `max_length`"),
        ({"history@t_item": 6}, "`item` is a sequence, .* got None"),
        ({**ROOM, "user": 3}, "max_length has `user`, and the model's sequences are history@t_item, item"),
        (0, "1 to 65535, of all sequences or by slot.*, got 0"),
        (5, "a sample of `history@t_item` has 6 ids, and max_length says 5"),
        (9, "the model fails for sequences as long as max_length says"),
    ],
)
def test_how_long_sequences_may_be_has_to_be_said(rec: Any, max_length: Any, words: str) -> None:
    kind = rec.NinePlaces if max_length == 9 else rec.Attention
    with pytest.raises(ExportError, match=words):
        rec.split(kind(), (rec.numbers(5, 1), rec.history_ids(5, 1)), max_length=max_length)


def test_the_ids_themselves_are_nothing_that_a_server_gives(rec: Any) -> None:
    model = rec.Attention()
    model.rows = rec.sequences(("t_item", ["history", "item"]), need_indices=True)
    with pytest.raises(ExportError, match="`rows` gives the ids beside the rows"):
        rec.split(model, (rec.numbers(5, 1), rec.history_ids(5, 1)), max_length=ROOM)


def test_columns_may_be_regrouped_and_collections_share_features_and_names(rec: Any) -> None:
    model, kjt = rec.Regrouped().eval(), rec.ids(6, 2)
    halves = rec.split(model, (kjt,))
    assert [slot.name for slot in halves.slots] == ["user", "item@one.embedding_bags.t", "item@two.embedding_bags.t", "tag"]
    assert [slot.table for slot in halves.slots[1:3]] == ["one.embedding_bags.t.weight", "two.embedding_bags.t.weight"]
    other = rec.ids(4, 9)
    with torch.no_grad():
        torch.testing.assert_close(halves.dense_half([], looked_up(model, other, halves.slots)), model(other))


RULES: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, Any]]] = {
    "as-they-are": (lambda ids: ids, {}),
    "modulo": (lambda ids: ids % 100, {"modulo": 100}),
    "one-for-all-others": (lambda ids: torch.where((ids >= 0) & (ids < 100), ids, 7), {"default_row": {"id": 7}}),
    "one-for-minus-one": (lambda ids: torch.where(ids == -1, 7, ids), {"default_row": {"id": 7}}),
    "modulo-of-what-is-not-negative": (lambda ids: torch.fmod(ids, 100), {"modulo": 100}),
}


@pytest.mark.parametrize("rule", RULES)
def test_what_a_model_does_with_ids_beyond_its_table_becomes_an_option(rec: Any, rule: str) -> None:
    """Of which the sample shows nothing: all of its ids have rows."""
    change, options = RULES[rule]
    halves = rec.split(rec.Changed(change), (rec.ids(5, 1, ["user"]),))
    assert halves.embedding_config["slots_config"]["user"] == {"dim": 16, "pooling": "sum", "output": "f32"} | options
    expected: dict[str, Any] = {"table": "tables.embedding_bags.a.weight", "pooling": "sum"}
    expected |= {"modulo": 100} if "modulo" in options else {}
    expected |= {"default": "row 7"} if "default_row" in options else {}
    assert halves.table_map["slots"]["user"] == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ids: torch.where(ids == 63, 64, ids), "for the id 63 it asks for 64"),
        (lambda ids: torch.where(ids == 0, 99, ids), "for the id 0 it asks for 99"),
        (lambda ids: torch.where(ids == 99, 0, ids), "for the id 99 it asks for 0"),
        (lambda ids: ids.clamp(0, 99), "for the id .* and the table has 100 rows"),
        (lambda ids: ids % 50, "for the id .* it asks for"),
        (lambda ids: ids * 2654435761 % 100, "for the id .* it asks for"),
    ],
    ids=["one-id", "first", "last", "clamped", "another-modulo", "hashed"],
)
def test_ids_that_are_changed_in_another_way_are_refused(rec: Any, change: Callable[[Tensor], Tensor], words: str) -> None:
    kjt = rec.KeyedJaggedTensor(keys=["user"], values=torch.arange(0, 60) % 30 + 60, lengths=torch.full((30,), 2))
    with pytest.raises(ExportError, match="changes the ids of `user` before it looks them up: " + words):
        rec.split(rec.Changed(change), (kjt,))


def test_weights_that_a_model_makes_itself_are_refused(rec: Any) -> None:
    with pytest.raises(ExportError, match="the model makes the weights of `user` itself"):
        rec.split(rec.OwnWeights(), (rec.ids(5, 1, ["user"], weighted=True),))


def test_the_mean_of_weighted_rows_is_refused(rec: Any) -> None:
    model = rec.OwnWeights()
    (config,) = model.tables.embedding_bag_configs()
    config.pooling = importlib.import_module("torchrec").PoolingType.MEAN
    with pytest.raises(ExportError, match="divides by the number of ids, and a server by the sum of their weights"):
        rec.split(model, (rec.ids(5, 1, ["user"], weighted=True),))


def test_a_sample_alone_has_a_score_of_its_own(rec: Any) -> None:
    with pytest.raises(ExportError, match="depend on what else is in its batch: its answer to sample 0 alone has other shapes"):
        rec.split(rec.Squeezed(), (rec.ids(5, 1, ["user"]),))


def test_a_model_may_put_the_keys_of_its_ids_into_another_order(rec: Any) -> None:
    model, kjt = rec.Reordered().eval(), rec.ids(6, 1)
    halves = rec.split(model, (kjt,))
    other = rec.ids(4, 9)
    with torch.no_grad():
        found = halves.dense_half([], [model.tables(other)[slot.name] for slot in halves.slots])
        torch.testing.assert_close(found, model(other))


@pytest.mark.parametrize("settings", [{"use_virtual_table": True}, {"num_embeddings_post_pruning": 50}])
def test_tables_whose_rows_are_not_numbered_by_ids_are_refused(rec: Any, settings: dict[str, Any]) -> None:
    model = rec.Shifted()
    vars(model.tables.embedding_bag_configs()[0]).update(settings)
    with pytest.raises(ExportError, match="table `a` is virtual or pruned"):
        rec.split(model, (rec.ids(5, 1, ["user"]),))


def test_the_id_of_ids_that_nobody_has_seen_fits_any_number_of_tables(rec: Any) -> None:
    model = rec.Managed()
    slots = rec.split(model, (model.ids(4, 0),)).slots
    more = [replace(slots[1], name=f"f{i}", table=f"t{i}") for i in range(300)]
    collections = importlib.import_module("persia.torchrec.collections")
    config = collections.config_of([slots[0], *more], "f32")
    assert config["feature_index_prefix_bit"] == 9
    assert config["slots_config"]["user"]["default_row"] == {"id": 2**55 - 2}
    parse_embedding_config(yaml.safe_dump(config))


def test_managed_collisions_by_hashes_are_refused(rec: Any) -> None:
    model = rec.Managed(input_hash_func=lambda values, size: values % size)
    with pytest.raises(ExportError, match="table `t_user` has managed collisions by MCHManagedCollisionModule, with a hash"):
        rec.split(model, (model.ids(4, 0),))


def test_what_is_ours_in_a_trace_runs_on_any_device(rec: Any) -> None:
    _, halves = split_histories(rec, "PaddedMean")
    assert 'value="cpu"' not in str(halves.dense_half.inlined_graph)
