"""Embeddings in f32, default rows, ids modulo a number, and ids that are signs: what lookups give, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import yaml

from persia import _core
from persia.batch import IDTypeFeature, PersiaBatch
from persia.config import EmbeddingConfig, parse_embedding_config
from persia.errors import ConfigError, FeatureError, InvalidInput
from persia.routing import make_slots
from persia.routing.lookup import Lookup, Placed, placed_tensors
from persia.routing.merged import part_of
from persia.signs import signs_of
from persia.tensors import split_tensors
from tests.support.routing_reference import ask, ask_for_misses, assemble, load_shards

DIM = 4
ROWS = np.random.default_rng(3).normal(size=(50, DIM)).astype(np.float32)


def config_of(**slots: dict[str, Any]) -> EmbeddingConfig:
    tree = {"slots_config": {name: {"dim": DIM, **slot} for name, slot in slots.items()}}
    return parse_embedding_config(yaml.safe_dump(tree))


def batch_of(weights: list[list[float]] | None = None, **features: list[list[int]]) -> _core.Batch:
    columns = [IDTypeFeature(name, ids, weights=weights) for name, ids in features.items()]
    return _core.decode_batch(PersiaBatch(columns).to_bytes())


def stored(config: EmbeddingConfig, name: str = "f") -> dict[int, np.ndarray]:
    """The row of each id below 50."""
    return dict(zip(signs_of(np.arange(50), config.slots[name])[0].tolist(), ROWS, strict=True))


def look_up(batch: _core.Batch, config: EmbeddingConfig, rows: dict[int, np.ndarray], shards: int = 2) -> list[np.ndarray]:
    plan = _core.make_plan(batch, make_slots(config), shards)
    return assemble(
        plan, [ask(shard, request)[0] for shard, request in zip(load_shards(rows, shards), plan.requests, strict=True)]
    )


def bags(count: int = 300) -> list[list[int]]:
    rng = np.random.default_rng(9)
    return [rng.integers(0, 50, rng.integers(0, 12)).tolist() for _ in range(count)]


def torch_bags(ids: list[list[int]], mode: str) -> np.ndarray:
    flat = torch.tensor([id for bag in ids for id in bag])
    offsets = torch.tensor([0, *np.cumsum([len(bag) for bag in ids])[:-1].tolist()])
    pooled: np.ndarray = torch.nn.EmbeddingBag.from_pretrained(torch.tensor(ROWS), mode=mode)(flat, offsets).numpy()
    return pooled


class TestFloats:
    @pytest.mark.parametrize("shards", [1, 3])
    @pytest.mark.parametrize("mode", ["sum", "mean"])
    def test_sums_and_means_are_torchs_to_the_bit(self, mode: str, shards: int) -> None:
        config = config_of(f={"pooling": mode, "output": "f32"})
        (got,) = look_up(batch_of(f=bags()), config, stored(config), shards)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got.view(np.uint32), torch_bags(bags(), mode).view(np.uint32))

    def test_a_weighted_sum_is_torchs_but_for_the_last_bit(self) -> None:
        ids = bags()
        rng = np.random.default_rng(2)
        weights = [rng.random(len(bag)).astype(np.float32).tolist() for bag in ids]
        config = config_of(f={"weighted": True, "output": "f32"})
        (got,) = look_up(batch_of(weights, f=ids), config, stored(config))
        want = np.array([sum((np.float32(w) * ROWS[id] for id, w in zip(bag, of, strict=True)), np.zeros(DIM, np.float32))
                         for bag, of in zip(ids, weights, strict=True)])  # fmt: skip
        np.testing.assert_array_equal(got, want)

    def test_raw_rows_are_as_they_are_stored(self) -> None:
        config = config_of(f={"pooling": "raw", "sample_fixed_size": 3, "output": "f32"})
        (got,) = look_up(batch_of(f=[[4, 5], [6, 7, 8, 9], []]), config, stored(config))
        np.testing.assert_array_equal(got[0], [[*ROWS[4], 1], [*ROWS[5], 1], [0] * (DIM + 1)])
        np.testing.assert_array_equal(got[1, :, :DIM], ROWS[6:9])
        assert not got[2].any()

    def test_sums_beyond_float16_are_not_cut(self) -> None:
        config = config_of(f={"output": "f32"})
        rows = {sign: np.full(DIM, 60_000, np.float32) for sign in stored(config)}
        assert look_up(batch_of(f=[[1, 2]]), config, rows)[0].tolist() == [[120_000] * DIM]

    def test_tensors_of_both_kinds_lie_in_one_piece_of_memory(self) -> None:
        config = config_of(f={"output": "f32"}, g={}, h={"pooling": "raw", "sample_fixed_size": 1, "output": "f32"})
        batch = batch_of(g=[[1], [2], [3]], f=[[1], [2], [3]], h=[[1], [2], [3]])
        plan = _core.make_plan(batch, make_slots(config), 1)
        numbers, shapes = plan.room()
        rows = {**stored(config, "f"), **stored(config, "g"), **stored(config, "h")}
        plan.assemble([ask(load_shards(rows, 1)[0], plan.requests[0])[0]], numbers)
        unaligned = np.frombuffer(b"ab" + numbers.tobytes(), np.float16, offset=2)
        for memory in (numbers, unaligned, np.r_[numbers, numbers][1:][len(numbers) - 1 :]):
            got = split_tensors(memory, shapes, torch.device("cpu"))
            assert [tensor.dtype for tensor in got] == [torch.float16, torch.float32, torch.float32]
            np.testing.assert_array_equal(got[0].numpy(), ROWS[1:4].astype(np.float16))
            np.testing.assert_array_equal(got[1].numpy(), ROWS[1:4])
            np.testing.assert_array_equal(got[2][:, 0, :DIM].numpy(), ROWS[1:4])

    def test_of_a_merged_batch_each_request_gets_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        config = config_of(f={"output": "f32"}, g={})
        rows = {**stored(config, "f"), **stored(config, "g")}
        batches = [batch_of(g=[[1]], f=[[2]]), batch_of(g=[[3], [4]], f=[[5], [6]])]
        merged = _core.merge_batches(batches)
        plan = _core.make_plan(merged, make_slots(config), 1)
        numbers, shapes = plan.room()
        values, absent, wrong_dim, misses = ask_for_misses(load_shards(rows, 1)[0], plan.requests[0])
        plan.assemble([values], numbers)
        whole = Lookup(
            numbers=numbers, shapes=shapes, versions=[0], absent=absent, wrong_dim=wrong_dim, missing_shards=[], rpc_seconds=0,
            batch=merged, counts=plan.count([misses], _core.FeatureCounts(["f", "g"])),
        )  # fmt: skip
        sizes: list[int] = []  # of the shapes that were read: once for all requests

        def read(shapes: np.ndarray) -> list[Placed]:
            sizes.append(len(shapes))
            return placed_tensors(shapes)

        with monkeypatch.context() as patch:
            patch.setattr("persia.routing.lookup.placed_tensors", read)
            parts = [part_of(whole, batches, request) for request in range(len(batches))]
        assert sizes == [shapes.size]
        for part, batch in zip(parts, batches, strict=True):
            for got, want in zip(part.tensors, look_up(batch, config, rows, 1), strict=True):
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want)


class TestDefaultRows:
    @pytest.mark.parametrize("output", ["f16", "f32"])
    @pytest.mark.parametrize("default", [{"value": 0.25}, {"id": 49}])
    def test_an_id_without_a_row_has_it_and_counts_as_missing(self, default: dict[str, Any], output: str) -> None:
        config = config_of(f={"default_row": default, "output": output})
        plan = _core.make_plan(batch_of(f=[[1, 1000], [1001], []]), make_slots(config), 2)
        shards = load_shards(stored(config), 2)
        answers = [ask_for_misses(shard, request) for shard, request in zip(shards, plan.requests, strict=True)]
        (got,) = assemble(plan, [answer[0] for answer in answers])
        row = np.full(DIM, 0.25, np.float32) if "value" in default else ROWS[49]
        np.testing.assert_array_equal(got, np.array([ROWS[1] + row, row, np.zeros(DIM)]).astype(got.dtype))
        counts = plan.count([answer[3] for answer in answers], _core.FeatureCounts(["f"]))
        assert counts.tolist() == [3, 2, 0, 0]

    def test_it_is_in_raw_tensors_and_under_weights_too(self) -> None:
        config = config_of(f={"default_row": {"id": 2}, "pooling": "raw", "sample_fixed_size": 2})
        (got,) = look_up(batch_of(f=[[99, 3]]), config, stored(config))
        np.testing.assert_array_equal(got[0, :, :DIM], ROWS[2:4].astype(np.float16))
        config = config_of(f={"default_row": {"id": 2}, "weighted": True, "output": "f32"})
        (got,) = look_up(batch_of([[2.0]], f=[[99]]), config, stored(config))
        np.testing.assert_array_equal(got[0], 2 * ROWS[2])

    def test_a_default_row_that_is_not_there_is_zeros(self) -> None:
        config = config_of(f={"default_row": {"id": 777}})
        plan = _core.make_plan(batch_of(f=[[99]]), make_slots(config), 1)
        numbers, absent, _, misses = ask_for_misses(load_shards(stored(config), 1)[0], plan.requests[0])
        assert not assemble(plan, [numbers])[0].any() and absent == 2
        assert plan.count([misses], _core.FeatureCounts(["f"])).tolist() == [1, 1, 0, 0]

    def test_what_a_missing_shard_has_counts_as_zeros(self) -> None:
        config = config_of(f={"default_row": {"value": 5}})
        plan = _core.make_plan(batch_of(f=[[99], [1]]), make_slots(config), 1)
        assert not assemble(plan, [None])[0].any()


class TestIds:
    def test_ids_are_taken_modulo_as_torch_does(self) -> None:
        config = config_of(f={"modulo": 50, "output": "f32"})
        ids = [7, 57, -1, -51, 2**63 - 1, -(2**63)]
        (got,) = look_up(batch_of(f=[[id] for id in ids]), config, stored(config))
        np.testing.assert_array_equal(got, ROWS[torch.remainder(torch.tensor(ids), 50).numpy()])

    def test_ids_that_meet_by_the_modulo_count_once_each(self) -> None:
        config = config_of(f={"modulo": 50})
        (got,) = look_up(batch_of(f=[[7, 57, 107]]), config, stored(config))
        np.testing.assert_array_equal(got[0], (ROWS[7] * 3).astype(np.float16))

    def test_ids_may_be_signs_as_they_are(self) -> None:
        config = config_of(f={"ids_are_signs": True}, g={"ids_are_signs": True, "modulo": 10}, h={})
        keys = [2**64 - 1, 2**63 + 5, 3, 0]
        rows = dict(zip(keys, ROWS, strict=False))
        got = look_up(batch_of(f=[[key] for key in keys], g=[[13]] * 4, h=[[]] * 4), config, rows)
        np.testing.assert_array_equal(got[0], ROWS[:4].astype(np.float16))
        np.testing.assert_array_equal(got[1], ROWS[[2] * 4].astype(np.float16))
        assert config.slots["h"].prefix == 1 << 56, "slots whose ids are signs have no group"

    def test_an_id_that_would_be_a_sign_of_a_group_is_refused(self) -> None:
        config = config_of(f={"ids_are_signs": True}, h={})
        for id in (1 << 56, (1 << 57) - 1):
            with pytest.raises(FeatureError, match=f"the id {id} would be a sign of group 0"):
                _core.make_plan(batch_of(f=[[id]]), make_slots(config), 1)
        for id in ((1 << 56) - 1, 1 << 57):
            _core.make_plan(batch_of(f=[[id]]), make_slots(config), 1)


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        ({"output": "f64"}, "expected `f16` or `f32`, got `f64`"),
        ({"modulo": -1}, "expected an integer from 0 to 9223372036854775807, got `-1`"),
        ({"default_row": {"value": 1, "id": 2}}, "expected a value or an id, got both"),
        ({"default_row": {"value": 1e39}}, "expected a number that float32 holds, got 1e"),
        ({"default_row": {"value": "much"}}, "expected a number, got `much`"),
        ({"default_row": {"id": 2**64}}, "expected an id from -2^63 to 2^64 - 1"),
        ({"default_row": {"value": 65_520}}, "expected a number that float16 holds, or `output: f32`, got 65520"),
        ({"default_row": {"id": 7}, "modulo": 7}, "expected an id from 0 to 6, for ids are taken modulo 7, got 7"),
        ({"default_row": {"id": -1}, "modulo": 7}, "expected an id from 0 to 6, for ids are taken modulo 7, got -1"),
        ({"modulo": 5, "hash_stack_config": {"hash_stack_rounds": 1, "embedding_size": 9}}, "without a hash stack"),
        ({"ids_are_signs": True, "hash_stack_config": {"hash_stack_rounds": 1, "embedding_size": 9}}, "without a hash stack"),
    ],
)
def test_what_a_slot_cannot_be(slot: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_of(f=slot)
    assert message in str(raised.value)


def test_a_default_row_is_no_sign_of_a_group() -> None:
    keyed = {"ids_are_signs": True, "default_row": {"id": 1 << 56}}
    with pytest.raises(ConfigError, match="would be a sign of group 0"):
        config_of(f=keyed, h={})
    assert config_of(f=keyed).slots["f"].default_id == 1 << 56
    slots = config_of(f={"default_row": {"value": 65_519}}, g={"default_row": {"value": 1e38}, "output": "f32"}).slots
    assert [slot.default_value for slot in slots.values()] == [65_519, 1e38]


def test_slots_whose_ids_are_signs_are_in_no_group() -> None:
    tree = {"slots_config": {"f": {"dim": 1, "ids_are_signs": True}}, "feature_groups": {"both": ["f"]}}
    with pytest.raises(ConfigError, match="such slots are in no group"):
        parse_embedding_config(yaml.safe_dump(tree))


@pytest.mark.parametrize(
    "options",
    [
        {"modulo": 3, "hash_stack_rounds": 1, "hash_stack_size": 1},
        {"modulo": 1 << 63},
        {"ids_are_signs": True, "prefix": 1 << 56},
        {"default_value": 1.0, "default_id": 1},
    ],
)
def test_the_planner_refuses_such_slots_too(options: dict[str, Any]) -> None:
    with pytest.raises((FeatureError, InvalidInput)):
        _core.Slots([_core.Slot("f", 1, **options)], 8)


class TestRoom:
    def test_a_slot_that_keeps_all_ids_refuses_what_it_has_no_room_for(self) -> None:
        config = config_of(f={"pooling": "raw", "sample_fixed_size": 2, "keep": "all"})
        (got,) = look_up(batch_of(f=[[4, 5], [], [6]]), config, stored(config))
        np.testing.assert_array_equal(got[:, :, DIM], [[1, 1], [0, 0], [1, 0]])
        with pytest.raises(FeatureError, match="sample 1 has 3 ids, and the slot has room for 2"):
            _core.make_plan(batch_of(f=[[4, 5], [6, 7, 8]]), make_slots(config), 1)

    def test_only_raw_slots_keep_all_ids(self) -> None:
        with pytest.raises(ConfigError, match="`keep: all` is for raw slots: pooling takes all ids of a sample"):
            config_of(f={"keep": "all"})
        with pytest.raises(FeatureError, match="to keep the last ids, or all of them, of raw rows only"):
            _core.Slots([_core.Slot("f", 1, keep_all=True)], 8)
        with pytest.raises(FeatureError, match="to keep the last ids or all, got both"):
            _core.Slots([_core.Slot("f", 1, summation=False, keep_last=True, keep_all=True)], 8)
