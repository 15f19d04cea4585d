"""`persia.torchrec` with real models: scores through tables that are served, batches, and rows that training changes."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.multiprocessing.spawn import spawn

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.config import load_embedding_config
from persia.ctx import InferCtx
from persia.errors import ExportError, FeatureError, InvalidInput, NotRepresentable
from persia.importers.command import import_command
from persia.signs import signs_of
from persia.writers import IncrementalDumper
from tests.support.in_process import LocalDeployment
from tests.support.places import ROOT
from tests.support.written import replay

pytestmark = [
    pytest.mark.whole_way,
    pytest.mark.skipif(
        importlib.util.find_spec("torchrec") is None, reason="TorchRec is not installed: `make torchrec` does it"
    ),
    pytest.mark.filterwarnings("ignore"),  # TorchRec's own
]


@pytest.fixture(scope="module")
def rec() -> Any:
    """TorchRec's models, and `persia.torchrec`. To import them takes seconds, so they are imported where they are used."""
    return importlib.import_module("tests.support.torchrec_models")


def import_tables(halves: Any, model: nn.Module, out: Path) -> None:
    halves.write(out)
    torch.save(model.state_dict(), out / "state.pt")
    arguments = ["torch", out / "state.pt", out / "ckpt", "--shards", "2", "--map", out / "tables.yml"]
    arguments += ["--embedding-config", out / "embedding_config.yml"]
    result = CliRunner().invoke(import_command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


def scores_of(context: InferCtx, half: Any, batch: PersiaBatch) -> Any:
    features = context.prepare_features(context.get_embedding_from_bytes(batch.to_bytes()))
    with torch.no_grad():
        return half(*features[:2])


@pytest.fixture(scope="module", params=["DLRM", "DLRM_Projection", "DLRM_DCN"])
def served(
    rec: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Any, InferCtx]]:
    model = rec.make(request.param)
    halves = rec.split(model, (rec.numbers(5, 1), rec.ids(5, 1)), output=nn.Sigmoid())
    out = tmp_path_factory.mktemp("model")
    import_tables(halves, model, out)
    with LocalDeployment(out, 2) as deployment:
        yield model.eval(), halves, deployment.direct()


def test_scores_through_tables_that_are_served_are_torchrecs_own(rec: Any, served: tuple[Any, Any, InferCtx]) -> None:
    model, halves, context = served
    dense, kjt = rec.numbers(64, 2), rec.ids(64, 2)
    with torch.no_grad():
        own = torch.sigmoid(model(dense, kjt))
    found = scores_of(context, halves.dense_half, halves.batch(kjt, dense))
    assert float((found - own).abs().max()) < 1e-6
    assert halves.difference < 2e-6


def test_what_torchscript_takes_is_scripted(rec: Any, served: tuple[Any, Any, InferCtx]) -> None:
    model, halves, _ = served
    is_dcn = type(model).__name__ == "DLRM_DCN"
    assert halves.way == ("traced" if is_dcn else "scripted")
    assert list(halves.why_not) == (["scripted"] if is_dcn else [])


@pytest.fixture(scope="module")
def served_histories(rec: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any, InferCtx]]:
    model, out = rec.Attention(), tmp_path_factory.mktemp("histories")
    length = {"history@t_item": rec.LONGEST, "item": 1}
    halves = rec.split(model, (rec.numbers(5, 1), rec.history_ids(5, 1)), output=nn.Sigmoid(), max_length=length)
    import_tables(halves, model, out)
    with LocalDeployment(out, 2) as deployment:
        yield model.eval(), halves, deployment.direct()


@pytest.mark.parametrize("longest", [6, 2, 0])
def test_scores_of_sequences_are_torchrecs_own(rec: Any, served_histories: Any, longest: int) -> None:
    model, halves, context = served_histories
    dense, kjt = rec.numbers(64, 2), rec.history_ids(64, 2, longest)
    with torch.no_grad():
        own = torch.sigmoid(model(dense, kjt))
    found = scores_of(context, halves.dense_half, halves.batch(kjt, dense))
    assert float((found - own).abs().max()) < 1e-6


def test_a_sequence_that_is_too_long_is_not_cut(rec: Any, served_histories: Any) -> None:
    """By a client that does not know how long it may be."""
    _, halves, context = served_histories
    batch = rec.batch_from_kjt(rec.history_ids(4, 3, longest=9), features=halves.features)
    with pytest.raises(FeatureError, match="sample 0 has 9 ids, and the slot has room for 6"):
        context.get_embedding_from_bytes(batch.to_bytes())


def check_served(rec: Any, model: Any, halves: Any, out: Path, kjt: Any, *, close: float = 1e-6) -> None:
    import_tables(halves, model, out)
    with LocalDeployment(out, 2) as deployment:
        found = scores_of(deployment.direct(), halves.dense_half, halves.batch(kjt))
    with torch.no_grad():
        own = model.eval()(kjt)
    assert float((found - own).abs().max()) < close


def test_managed_collisions_are_served_with_ids_that_nobody_has_seen(rec: Any, tmp_path: Path) -> None:
    model = rec.Managed()
    halves = rec.split(model, (model.ids(4, 0),))
    slot = halves.embedding_config["slots_config"]["user"]
    assert slot == {"dim": 4, "pooling": "sum", "default_row": {"id": 2**56 - 2}, "output": "f32"}
    table = "users._embedding_module.embedding_bags.t_user.weight"
    assert halves.table_map["slots"]["user"] == {"table": table, "pooling": "sum", "default": "row 19"}
    seen, unseen = (model.ids(4, seed).to_dict() for seed in (1, 77))
    users = torch.cat([seen["user"].values(), unseen["user"].values()])
    items = torch.cat([seen["item"].values(), unseen["item"].values()])
    lengths = torch.ones(16, dtype=torch.int64)
    kjt = rec.KeyedJaggedTensor(keys=["user", "item"], values=torch.cat([users, items]), lengths=lengths)
    check_served(rec, model, halves, tmp_path, kjt)


@pytest.mark.parametrize("kind", ["int8", "int4", "float16"])
def test_quantised_tables_are_served(rec: Any, kind: str, tmp_path: Path) -> None:
    model = rec.quantized(rec.Mixed().eval(), kind)
    halves = rec.split(model, (rec.ids(6, 1),), max_length=3)
    assert halves.table_map["slots"]["item"]["quantized"] == kind
    check_served(rec, model, halves, tmp_path, rec.ids(20, 2), close=1e-5 if kind == "float16" else 1e-6)


@pytest.mark.parametrize("way", ["scripted", "traced", "exported"])
def test_each_way_leads_to_the_same_scores_from_a_file(rec: Any, way: str, tmp_path: Path) -> None:
    model, dense, kjt = rec.make("DLRM").eval(), rec.numbers(6, 3), rec.ids(6, 3)
    halves = rec.split(model, (dense, kjt), way=way, embeddings="f16")
    path = halves.write(tmp_path)
    half = torch.export.load(path).module() if way == "exported" else torch.jit.load(str(path))
    embeddings = model.get_submodule("sparse_arch.embedding_bag_collection")(kjt).to_dict()
    with torch.no_grad():
        found = half([dense[:4]], [embeddings[name][:4].half() for name in rec.FEATURES])
        torch.testing.assert_close(found, model(dense, kjt)[:4], atol=1e-5, rtol=1e-5)


def test_a_model_of_any_shape_is_split(rec: Any, tmp_path: Path) -> None:
    model, kjt = rec.Odd().eval(), rec.ids(7, 4, weighted=True)
    price = torch.rand(7, 1)
    halves = rec.split(model, (kjt, price))
    assert halves.features == {"user": "user", "item@a": "item", "item@b": "item", "tag": "tag"}
    assert halves.embedding_config["feature_groups"] == {"user": ["user", "item@a"], "item@b": ["item@b"], "tag": ["tag"]}
    assert halves.embedding_config["slots_config"]["tag"] == {"dim": 4, "pooling": "sum", "weighted": True, "output": "f32"}
    assert halves.table_map["slots"]["item@a"] == {"table": "plain.embedding_bags.a.weight", "pooling": "mean"}
    import_tables(halves, model, tmp_path)
    with LocalDeployment(tmp_path, 1) as deployment:
        found = scores_of(deployment.direct(), halves.dense_half, halves.batch(kjt, price))
    with torch.no_grad():
        own = model(kjt, price)
    assert list(found) == ["click", "buy"]
    for name, scores in own.items():
        torch.testing.assert_close(found[name], scores, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("Shifted", "changes the ids of `user` before it looks them up"),
        ("Twice", "`tables` is asked twice in one forward"),
        ("ByBatch", "the scores of a sample depend on what else is in its batch: its scores of the sample twice are"),
        ("Nothing", "Nothing has no EmbeddingBagCollection and no EmbeddingCollection"),
    ],
    ids=["other-ids", "twice", "by-batch", "none"],
)
def test_what_cannot_be_split_is_refused_with_the_reason(rec: Any, model: str, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        rec.split(getattr(rec, model)(), (rec.ids(5, 1, ["user"]),))


@pytest.mark.parametrize(
    ("sample", "settings", "words"),
    [
        (lambda rec: [rec.numbers(5, 1)], {}, "expected a sample of tensors and one KeyedJaggedTensor, got Tensor"),
        (lambda rec: [rec.numbers(5, 1), rec.ids(5, 1), 3], {}, "got Tensor, KeyedJaggedTensor, int"),
        (
            lambda rec: [rec.numbers(5, 1), rec.ids(5, 1)],
            {"way": "compiled"},
            "expected way to be scripted, traced",
        ),
        (lambda rec: [rec.numbers(5, 1), rec.ids(5, 1)], {"dense_names": []}, "expected a name for each of 1 dense tensors"),
    ],
    ids=["no-ids", "a-number", "way", "names"],
)
def test_a_wrong_sample_is_named(rec: Any, sample: Callable[[Any], Any], settings: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        rec.split(rec.make("DLRM"), sample(rec), **settings)


def test_a_keyed_jagged_tensor_is_the_batch_that_one_would_write_by_hand(
    rec: Any,
) -> None:
    kjt = rec.KeyedJaggedTensor(
        keys=["a", "b"], values=torch.tensor([3, -9, 4, 8]), lengths=torch.tensor([2, 0, 1, 1]), weights=torch.rand(4)
    )
    price, weights = torch.rand(2, 1), kjt.weights().numpy()
    by_hand = PersiaBatch(
        [
            IDTypeFeature("a", [np.array([3, 2**64 - 9], np.uint64), np.array([], np.uint64)], weights=weights[:2]),
            IDTypeFeature("b", [np.array([4], np.uint64), np.array([8], np.uint64)], weights=weights[2:]),
        ],
        [NonIDTypeFeature(price.numpy(), name="price")],
        requires_grad=False,
    )
    assert rec.batch_from_kjt(kjt, {"price": price}).to_bytes() == by_hand.to_bytes()
    with pytest.raises(InvalidInput, match="to have the key `c`, it has a, b"):
        rec.batch_from_kjt(kjt, features={"c@t": "c"})


def committed(directory: Path, rank: int, slot: str, path: Path | None = None) -> dict[int, npt.NDArray[np.float32]]:
    """What a process has written of a table, by id. path: of the embedding config, if it does not lie in the directory."""
    config = load_embedding_config(path or directory / "embedding_config.yml")
    signs = signs_of(np.arange(100, dtype=np.uint64), config.slots[slot]).ravel().tolist()
    rows = replay(directory / "packets" / f"s{rank}")
    return {number: np.frombuffer(rows[sign], np.float32) for number, sign in enumerate(signs) if sign in rows}


def test_the_rows_that_training_changes_are_committed(rec: Any, tmp_path: Path) -> None:
    rec.split(rec.make("DLRM"), (rec.numbers(5, 1), rec.ids(5, 1))).write(tmp_path)
    dense, kjt = rec.numbers(20, 5), rec.ids(20, 5)
    config = tmp_path / "embedding_config.yml"
    with rec.process_group(tmp_path), IncrementalDumper(tmp_path / "packets", embedding_config=config) as dumper:
        sharded = rec.shard(
            rec.make("DLRM"),
            {"t_user": rec.table_wise(rank=0, compute_kernel="fused"), "t_shared": rec.row_wise(compute_kernel="fused")},
            1,
        )
        with pytest.raises(ExportError, match="is sharded already: split the model before"):
            rec.split(sharded, (dense, kjt))
        deltas = rec.DeltaDumper(sharded, dumper)
        before = rec.weight_of(sharded, "t_shared").clone()
        rec.train_tables(sharded, kjt, dense)
        users, shared = kjt["user"].values().unique(), torch.cat([kjt["item"].values(), kjt["tag"].values()]).unique()
        assert deltas.commit() == len(users) + len(shared)
        assert deltas.commit() == 0
        dumper.flush()
        assert not torch.equal(before[shared], rec.weight_of(sharded, "t_shared")[shared])
        for slot, name, looked_up in (("user", "t_user", users), ("tag", "t_shared", shared)):
            found = committed(tmp_path, 0, slot)
            assert sorted(found) == looked_up.tolist()
            np.testing.assert_array_equal(list(found.values()), rec.weight_of(sharded, name)[looked_up].numpy())
        rec.train_tables(sharded, rec.ids(1, 6), rec.numbers(1, 6))
        assert 0 < deltas.commit() <= 9


def test_the_rows_of_sequences_are_committed_too(rec: Any, tmp_path: Path) -> None:
    dense, kjt = rec.numbers(7, 1), rec.history_ids(7, 1)
    rec.split(rec.Rows(), (dense, kjt), max_length=rec.LONGEST).write(tmp_path)
    config = tmp_path / "embedding_config.yml"
    with rec.process_group(tmp_path), IncrementalDumper(tmp_path / "packets", embedding_config=config) as dumper:
        sharded = rec.shard_rows(rec.Rows())
        deltas = rec.DeltaDumper(sharded, dumper)
        before = sharded.state_dict()["rows.embeddings.t_item.weight"].local_shards()[0].tensor.clone()
        rec.train_tables(sharded, kjt, dense)
        ids = torch.cat([kjt["history"].values(), kjt["item"].values()]).unique()
        assert deltas.commit() == len(ids)
        dumper.flush()
        rows = sharded.state_dict()["rows.embeddings.t_item.weight"].local_shards()[0].tensor.detach()
        assert not torch.equal(before[ids], rows[ids])
        for slot in ("history", "item"):
            found = committed(tmp_path, 0, slot)
            assert sorted(found) == ids.tolist()
            np.testing.assert_array_equal(list(found.values()), rows[ids].numpy())


def test_tables_that_torchrec_tracks_by_mistake_are_refused(rec: Any, tmp_path: Path) -> None:
    """A feature of two tables, and two tables of one name: of these TorchRec warns, and loses rows."""
    rec.split(rec.Rows(), (rec.numbers(7, 1), rec.history_ids(7, 1)), max_length=rec.LONGEST).write(tmp_path)
    config = tmp_path / "embedding_config.yml"
    with rec.process_group(tmp_path), IncrementalDumper(tmp_path / "packets", embedding_config=config) as dumper:
        with pytest.raises(NotRepresentable, match="both have the feature `history`, and TorchRec tracks its ids for"):
            rec.DeltaDumper(rec.shard_rows(rec.Rows("t_other")), dumper)
        with pytest.raises(NotRepresentable, match="several collections have a table of the same name"):
            rec.DeltaDumper(rec.shard_rows(rec.Rows("t_item")), dumper)


def test_each_process_commits_the_rows_that_it_holds(rec: Any, tmp_path: Path) -> None:
    rec.split(rec.make("DLRM"), (rec.numbers(5, 1), rec.ids(5, 1))).write(tmp_path)
    spawn(rec.train_one_of_two, (tmp_path,), nprocs=2)
    rows = torch.cat([torch.load(tmp_path / f"rows{rank}") for rank in range(2)])
    looked_up = torch.cat([rec.ids(30, rank)["user"].values() for rank in range(2)]).unique()
    first, second = (committed(tmp_path, rank, "user") for rank in range(2))
    assert max(first) < 50 <= min(second)
    assert [*first, *second] == looked_up.tolist()
    np.testing.assert_array_equal([*first.values(), *second.values()], rows[looked_up].numpy())
    assert "this process has 8 of 16 columns, and a row goes to a packet whole" in (tmp_path / "refused0").read_text()


class Asked:
    """In the place of a client: what it is asked."""

    batches: ClassVar[list[bytes]] = []

    def __init__(self, model: str, address: str, *, token_file: str) -> None:
        assert (model, token_file) == ("dlrm", "key_file.json")

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def predict(self, batch: PersiaBatch) -> None:
        self.batches.append(batch.to_bytes())


def test_the_python_of_the_page(rec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "coming-from-torchrec.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("persia.client.predict.Client", Asked)
    config, kjt, dense = tmp_path / "serving" / "embedding_config.yml", rec.ids(5, 1), rec.numbers(5, 1)
    names: dict[str, Any] = {"model": rec.make("DLRM"), "kjt": kjt, "dense_features": dense}
    exec(blocks[0], names)
    exec(blocks[1], names)
    assert Asked.batches == [names["halves"].batch(kjt, dense).to_bytes()]
    with rec.process_group(tmp_path):
        how = dict.fromkeys(("t_user", "t_shared"), rec.row_wise(compute_kernel="fused"))
        sharded = rec.shard(rec.make("DLRM"), how, 1)
        names |= {"sharded_model": sharded, "rank": 0, "batches": range(200), "train": lambda _: None}
        names["train"] = lambda step: rec.train_tables(sharded, kjt, dense) if step == 50 else None
        exec(blocks[2].replace("/data/packets", str(tmp_path / "packets")), names)
    assert len(blocks) == 3 and config.exists()
    assert sorted(committed(tmp_path, 0, "user", config)) == kjt["user"].values().unique().tolist()
