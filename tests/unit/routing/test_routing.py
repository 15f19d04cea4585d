"""Planner, shards and assembly together against the reference, for any config, batch and outage; and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persia import _core
from persia.config import EmbeddingConfig, Slot, parse_embedding_config
from persia.errors import FeatureError, InvalidInput, TooLarge
from persia.routing import make_slots
from persia.signs import shard_of
from tests.support.examples import examples
from tests.support.routing_reference import (
    Samples,
    Shards,
    ask,
    ask_for_misses,
    assemble,
    assert_within_one_ulp,
    encode,
    expected,
    feature_id,
    load_shards,
    signs_of_id,
)

ROWS, SUMS, HALVES, MARKED = 0, 1, 2, 3
KIND, SAMPLES, SIGNS, POSITIONS = 1, 3, 4, 5

STACKS = st.fixed_dictionaries({"hash_stack_rounds": st.integers(0, 3), "embedding_size": st.sampled_from([1, 2, 5, 1000])})
SHAPE = {"dim": st.sampled_from([1, 4, 5, 8]), "sample_fixed_size": st.integers(1, 6), "hash_stack_config": STACKS}
NO_STACK: dict[str, Any] = {
    "dim": SHAPE["dim"],
    "sample_fixed_size": SHAPE["sample_fixed_size"],
    "output": st.sampled_from(["f16", "f32"]),
    "modulo": st.sampled_from([0, 1, 7, 2**63 - 1]),
    "default_row": st.sampled_from([{}, {"value": 0.5}, {"value": -3}, {"id": 3}, {"id": -1}]),
}
SLOTS = st.one_of(
    st.fixed_dictionaries({**NO_STACK, "pooling": st.sampled_from(["sum", "mean", "sqrtn", "raw"])}),
    st.fixed_dictionaries({**NO_STACK, "ids_are_signs": st.just(True)}),
    st.fixed_dictionaries({**SHAPE, "output": st.just("f32"), "pooling": st.sampled_from(["sum", "mean", "raw"])}),
    st.fixed_dictionaries({**SHAPE, "embedding_summation": st.booleans(), "sqrt_scaling": st.booleans()}),
    st.fixed_dictionaries({**SHAPE, "pooling": st.sampled_from(["sum", "mean", "sqrtn", "raw"])}),
    st.fixed_dictionaries({**SHAPE, "pooling": st.just("raw"), "keep": st.just("last"), "sqrt_scaling": st.booleans()}),
)
# With 60 prefix bits ids are taken modulo 15, with 8 and 56 they reach their modulus too: ids that meet in a sign.
PREFIX_BITS = st.sampled_from([8, 12, 56, 60])
IDS = st.one_of(st.integers(0, 12), st.integers(0, 12), st.integers(0, 300), st.sampled_from([15, 2**56 - 1, 2**64 - 1]))


def config_of(slots: dict[str, Any], prefix_bits: int = 8, groups: dict[str, list[str]] | None = None) -> EmbeddingConfig:
    tree = {"feature_index_prefix_bit": prefix_bits, "slots_config": slots, "feature_groups": groups or {}}
    return parse_embedding_config(yaml.safe_dump(tree, sort_keys=False))


@st.composite
def configs(draw: st.DrawFn) -> EmbeddingConfig:
    slots = {f"slot{i}": draw(SLOTS) for i in range(draw(st.integers(1, 4)))}
    shared = [name for name, slot in slots.items() if "ids_are_signs" not in slot and draw(st.booleans())]
    bits = draw(PREFIX_BITS)
    if any("ids_are_signs" in slot for slot in slots.values()):
        bits = min(bits, 12)  # else ids would be signs of groups
    for slot in slots.values():
        default = slot.get("default_row", {})
        if slot.get("modulo") and "id" in default:
            slot["default_row"] = {"id": default["id"] % slot["modulo"]}
    return config_of(slots, bits, {"shared": shared} if shared else {})


@st.composite
def batches(draw: st.DrawFn, config: EmbeddingConfig) -> dict[str, Samples]:
    names = draw(st.permutations(list(config.slots)))[: draw(st.integers(1, len(config.slots)))]
    size = draw(st.integers(0, 5))
    return {name: [draw(st.lists(IDS, max_size=draw(st.sampled_from([0, 3, 25])))) for _ in range(size)] for name in names}


def rows_for(features: dict[str, Samples], config: EmbeddingConfig, seed: int) -> dict[int, np.ndarray]:
    """Rows for most of the signs. Halves, so that sums are exact in any order; some too large for f16, some of another dim."""
    rng = np.random.default_rng(seed)
    rows = {}
    for name, samples in features.items():
        slot = config.slots[name]
        for sign in sorted({sign for ids in samples for id in ids for sign in signs_of_id(id, slot)}):
            fate = rng.random()
            if fate < 0.15:
                continue
            dim = slot.dim if fate < 0.85 else int(rng.integers(1, 9))
            row = rng.integers(-1000, 1000, dim).astype(np.float32) / 2
            if rng.random() < 0.1:
                row[rng.integers(dim)] = rng.choice([-70000, 70000])
            rows[sign] = row
    for slot in config.slots.values():
        if slot.default_id is not None:
            (sign,) = signs_of_id(slot.default_id, slot)
            rows.setdefault(sign, rng.integers(-1000, 1000, slot.dim).astype(np.float32) / 2)
    return rows


def missing_defaults(features: dict[str, Samples], config: EmbeddingConfig, rows: dict[int, np.ndarray]) -> bool:
    """Whether there is a slot whose default row is there in another dim, that of another slot with the same sign."""
    defaults = [(slot.dim, sign) for slot in config.slots.values() for sign in default_signs(slot)]
    return any(len(rows[sign]) != dim for dim, sign in defaults)


def default_signs(slot: Slot) -> list[int]:
    return [] if slot.default_id is None else signs_of_id(slot.default_id, slot)


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), config=configs(), count=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_tensors_are_those_of_the_reference(data: st.DataObject, config: EmbeddingConfig, count: int, seed: int) -> None:
    features = data.draw(batches(config))
    shards = Shards(
        count, data.draw(st.frozensets(st.integers(0, count - 1), max_size=data.draw(st.sampled_from([0, 0, 1, 5]))))
    )
    rows = rows_for(features, config, seed)
    plan = _core.make_plan(encode(features), make_slots(config), count)
    assert plan.feature_names == list(features)
    assert plan.cut_ids == [
        sum(max(0, len(ids) - slot.sample_fixed_size) for ids in samples)
        if (slot := config.slots[name]).pooling == "raw"
        else 0
        for name, samples in features.items()
    ]
    check_requests(plan, features, count)

    answers: list[np.ndarray | None] = []
    misses: list[bytes | None] = []
    absent = wrong_dim = 0
    for index, (snapshot, request) in enumerate(zip(load_shards(rows, count), plan.requests, strict=True)):
        numbers, no_row, other_dim, of_parts = ask_for_misses(snapshot, request)
        assert numbers.shape == (request.answer_size,)
        if index in shards.missing:
            answers.append(None)
            misses.append(None)
            continue
        answers.append(numbers)
        misses.append(of_parts)
        absent += no_row
        wrong_dim += other_dim
    want = expected(features, config, rows, shards)
    got = assemble(plan, answers)
    for tensor, wanted in zip(got, want.tensors, strict=True):
        assert_within_one_ulp(tensor, wanted)
    if missing_defaults(features, config, rows):  # then servers count these, too
        return
    assert (absent, wrong_dim) == (want.absent, want.wrong_dim)
    totals = _core.FeatureCounts(list(config.slots))
    counts = plan.count(misses, totals).reshape(-1, 4).tolist()
    assert counts == [[*count, cut] for count, cut in zip(want.counts, plan.cut_ids, strict=True)]
    assert {name: counted for name, *counted in totals.totals() if any(counted)} == {
        name: count for name, count in zip(features, counts, strict=True) if any(count)
    }


def check_requests(plan: _core.Plan, features: dict[str, Samples], count: int) -> None:
    """Every sign is asked of its own shard, and the columns are as long as the parts say."""
    batch_size = len(next(iter(features.values())))
    place_of = {feature_id(name): place for place, name in enumerate(features)}
    for index, request in enumerate(plan.requests):
        assert (shard_of(request.signs, count) == index).all()
        parts = request.parts
        assert (parts[:, SIGNS] > 0).all() and (parts[:, SAMPLES] == batch_size).all()
        places = [place_of[feature] for feature in parts[:, 0].tolist()]
        assert places == sorted(set(places))
        sums = parts[parts[:, KIND] == SUMS]
        assert len(request.signs) == parts[:, SIGNS].sum()
        assert len(request.sum_counts) == sums[:, SIGNS].sum()
        assert len(request.sum_samples) == sums[:, POSITIONS].sum() == request.sum_counts.sum()
        numbers = np.where(parts[:, KIND] == SUMS, parts[:, SAMPLES], parts[:, SIGNS]) * parts[:, 2]
        numbers = np.where(parts[:, KIND] == HALVES, (numbers + 1) // 2, numbers)
        assert request.answer_size == np.where(parts[:, KIND] == MARKED, numbers + parts[:, SIGNS], numbers).sum()


POOLED = {"dim": 4}
RAW = {"dim": 4, "embedding_summation": False, "sample_fixed_size": 3}
STACK = {"hash_stack_config": {"hash_stack_rounds": 2, "embedding_size": 1000}}


def run(
    config: EmbeddingConfig, features: dict[str, Samples], rows: dict[int, np.ndarray], count: int, storage: str = "f32"
) -> Any:
    plan = _core.make_plan(encode(features), make_slots(config), count)
    snapshots = load_shards(rows, count, storage)
    return assemble(plan, [ask(snapshot, request)[0] for snapshot, request in zip(snapshots, plan.requests, strict=True)])


def kinds_of(plan: _core.Plan) -> set[int]:
    return {int(kind) for request in plan.requests for kind in request.parts[:, KIND]}


@pytest.mark.parametrize(
    ("slot", "samples", "kind"),
    [
        pytest.param(POOLED, [list(range(200))] * 2, SUMS, id="many ids in few samples"),
        pytest.param(POOLED, [[1, 2], *[[i] for i in range(3, 200)]], ROWS, id="an id per sample, but in one"),
        pytest.param(POOLED, [[7, 7]] * 200, ROWS, id="one id in all samples, twice"),
        pytest.param({**RAW, **STACK}, [list(range(200))] * 2, ROWS, id="raw, the sums of several rows"),
        pytest.param(POOLED, [[], *[[i] for i in range(200)]], HALVES, id="an id per sample at most"),
        pytest.param(POOLED, [[7]] * 200, HALVES, id="one id in all samples"),
        pytest.param(RAW, [list(range(200))] * 2, HALVES, id="raw"),
        pytest.param({**RAW, "output": "f32"}, [list(range(200))] * 2, ROWS, id="raw, not rounded"),
        pytest.param({**POOLED, "output": "f32"}, [list(range(200))] * 2, ROWS, id="not rounded"),
        pytest.param({**POOLED, "output": "f32", **STACK}, [list(range(200))] * 2, SUMS, id="not rounded, of several rows"),
        pytest.param({**POOLED, "default_row": {"value": 1}}, [[7]] * 200, MARKED, id="with a default row"),
    ],
)
def test_the_smaller_answer_is_asked_for(slot: dict[str, Any], samples: Samples, kind: int) -> None:
    config = config_of({"a": slot})
    features = {"a": samples}
    plan = _core.make_plan(encode(features), make_slots(config), 3)
    assert kinds_of(plan) == {kind}
    rows = rows_for(features, config, 5)
    for tensor, want in zip(run(config, features, rows, 3), expected(features, config, rows, Shards(3)).tensors, strict=True):
        assert_within_one_ulp(tensor, want)


@pytest.mark.parametrize("storage", ["f16", "int8", "uint8"])
@pytest.mark.parametrize("samples", [[list(range(50))] * 2, [[i] for i in range(50)]], ids=["sums", "rows"])
def test_smaller_storage_serves_what_its_rows_are(storage: str, samples: Samples) -> None:
    config = config_of({"a": {"dim": 9, "sqrt_scaling": True}})
    rng = np.random.default_rng(3)
    rows = {signs_of_id(id, config.slots["a"])[0]: rng.random(9, np.float32) for id in range(50)}
    (snapshot,) = load_shards(rows, 1, storage)
    signs = np.array(list(rows), np.uint64)
    stored = dict(zip(rows, snapshot.rows(signs, 9)[0], strict=True))
    (tensor,) = run(config, {"a": samples}, rows, 2, storage)
    assert_within_one_ulp(tensor, expected({"a": samples}, config, stored, Shards(2)).tensors[0])
    np.testing.assert_allclose(tensor, expected({"a": samples}, config, rows, Shards(2)).tensors[0], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("slot", [POOLED, RAW, {**RAW, "hash_stack_config": {"hash_stack_rounds": 2, "embedding_size": 1}}])
@pytest.mark.parametrize("value", [65520, 1e9, 3e38, np.inf])
def test_what_is_too_large_for_f16_becomes_its_largest(slot: dict[str, Any], value: float) -> None:
    config = config_of({"a": slot})
    rows = {sign: np.array([value, -value, 1, 0], np.float32) for id in (1, 2) for sign in signs_of_id(id, config.slots["a"])}
    (tensor,) = run(config, {"a": [[1, 2]]}, rows, 2)
    first = tensor.reshape(-1)[:4]
    assert first[0] == 65504 and first[1] == -65504 and first[2] in (1, 2) and first[3] == 0


def test_an_id_and_its_twin_under_the_modulus_share_a_row() -> None:
    config = config_of({"a": RAW, "b": POOLED})
    twin = 2**56 - 1
    rows = {sign: np.full(4, 3, np.float32) for name in "ab" for sign in signs_of_id(0, config.slots[name])}
    raw, pooled = run(config, {"a": [[0, twin], [twin]], "b": [[0, twin], [twin]]}, rows, 3)
    np.testing.assert_array_equal(raw[:, :, 0], [[3, 3, 0], [3, 0, 0]])
    np.testing.assert_array_equal(raw[:, :, 4], [[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(pooled[:, 0], [6, 3])


def test_a_missing_shard_leaves_zeros_and_masks() -> None:
    config = config_of({"a": RAW})
    plan = _core.make_plan(encode({"a": [[1, 2, 3, 4]]}), make_slots(config), 2)
    (tensor,) = assemble(plan, [None, None])
    np.testing.assert_array_equal(tensor[0], [[0, 0, 0, 0, 1]] * 3)


def test_a_feature_that_is_not_configured() -> None:
    with pytest.raises(FeatureError, match="'stranger'") as caught:
        _core.make_plan(encode({"a": [[1]], "stranger": [[1]]}), make_slots(config_of({"a": POOLED})), 1)
    assert caught.value.feature == "stranger"


def test_features_of_different_batch_sizes() -> None:
    slots = make_slots(config_of({"a": POOLED, "b": POOLED}))
    with pytest.raises(FeatureError, match=r"expected a batch of 1 samples .* got 2") as caught:
        _core.make_plan(encode({"a": [[1]], "b": [[1], [2]]}), slots, 1)
    assert caught.value.feature == "b"


def test_no_shards() -> None:
    with pytest.raises(InvalidInput, match="1 to 65535 shards, got 0"):
        _core.make_plan(encode({"a": [[1]]}), make_slots(config_of({"a": POOLED})), 0)


def test_a_batch_without_features() -> None:
    plan = _core.make_plan(encode({}), make_slots(config_of({"a": POOLED})), 2)
    assert [request.answer_size for request in plan.requests] == [0, 0]
    assert assemble(plan, [None, None]) == [] == assemble(plan, [np.empty(0, np.float32)] * 2)


def test_answers_that_do_not_fit() -> None:
    plan = _core.make_plan(encode({"a": [[1]]}), make_slots(config_of({"a": POOLED})), 2)
    right = [np.zeros(request.answer_size, np.float32) for request in plan.requests]
    asked = next(index for index, answer in enumerate(right) if len(answer))
    assemble(plan, right)
    for count in ([], right[:1], [*right, None]):
        with pytest.raises(InvalidInput, match="the answers of 2 shards"):
            assemble(plan, count)
    for index, wrong in [(asked, 3), (asked, 5), (asked, 0), (1 - asked, 1)]:
        answers: list[np.ndarray | None] = [*right]
        answers[index] = np.zeros(wrong, np.float32)
        with pytest.raises(InvalidInput, match=f"numbers from shard {index}, got {wrong}"):
            assemble(plan, answers)
    for other in (np.float64, np.float16, np.int32):
        with pytest.raises(TypeError):
            assemble(plan, [answer.astype(other) for answer in right])


def test_an_answer_over_the_limit() -> None:
    config = config_of({"a": POOLED})
    plan = _core.make_plan(encode({"a": [[1], [2]]}), make_slots(config), 1)
    (snapshot,) = load_shards({}, 1)
    assert ask(snapshot, plan.requests[0], 4)[1] == 2
    with pytest.raises(TooLarge, match="at most 3 numbers"):
        ask(snapshot, plan.requests[0], 3)


@pytest.mark.parametrize(
    ("slot", "problem"),
    [
        (_core.Slot("a", 0), "a dim of 1 to 65535, got 0"),
        (_core.Slot("a", 65536), "a dim of 1 to 65535, got 65536"),
        (_core.Slot("a", 1, sample_fixed_size=0), "a sample_fixed_size of 1 to 65535, got 0"),
        (_core.Slot("a", 1, hash_stack_rounds=1), "an embedding_size of at least 1"),
    ],
)
def test_slots_that_are_none(slot: _core.Slot, problem: str) -> None:
    with pytest.raises(FeatureError, match=problem):
        _core.Slots([slot], 8)


def test_slots_that_do_not_go_together() -> None:
    slot = _core.Slot("a", 1)
    with pytest.raises(FeatureError, match="has this slot twice"):
        _core.Slots([slot, slot], 8)
    for bits in (0, 64):
        with pytest.raises(InvalidInput, match=f"1 to 63 prefix bits, got {bits}"):
            _core.Slots([slot], bits)


def test_slots_say_which_they_are() -> None:
    assert repr(make_slots(config_of({"a": POOLED, "b": RAW}))) == "Slots([Slot('a', dim=4), Slot('b', dim=4, raw)])"
