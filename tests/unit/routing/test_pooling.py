"""Weighted and mean pooling: whole lookups against sums in float64 and against torch; and weights that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from persia import _core
from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, NonIDTypeFeature, PersiaBatch
from persia.config import EmbeddingConfig, parse_embedding_config
from persia.errors import FeatureError
from persia.routing import make_slots
from tests.support.examples import examples
from tests.support.reference import Batch as Reference
from tests.support.routing_reference import Shards, ask, assemble, load_shards, signs_of_id

DIM = 3
Samples = list[list[tuple[int, float]]]  # id and weight

ID = st.integers(0, 9)
WEIGHT = st.integers(-8, 8).map(lambda quarters: quarters / 4) | st.sampled_from([0.0, 1e-3, 3.0])
STACK = st.none() | st.fixed_dictionaries({"hash_stack_rounds": st.integers(1, 3), "embedding_size": st.sampled_from([2, 50])})


def config_of(pooling: str, stack: dict[str, int] | None = None, weighted: bool = True) -> EmbeddingConfig:
    slot = {"dim": DIM, "pooling": pooling, "weighted": weighted, "hash_stack_config": stack or {}}
    return parse_embedding_config(yaml.safe_dump({"slots_config": {"f": slot, "plain": {"dim": DIM}}}))


def rows_of(config: EmbeddingConfig, ids: set[int]) -> dict[int, np.ndarray]:
    slot = config.slots["f"]
    signs = sorted({sign for id in ids for sign in signs_of_id(id, slot)})
    return {sign: np.random.default_rng(sign % 1000).integers(-40, 40, DIM).astype(np.float32) / 4 for sign in signs}


def sent(samples: Samples) -> bytes:
    ids = [[id for id, _ in sample] for sample in samples]
    return PersiaBatch([IDTypeFeature("f", ids, weights=[[w for _, w in sample] for sample in samples])]).to_bytes()


def looked_up(batch: _core.Batch, config: EmbeddingConfig, rows: dict[int, np.ndarray], shards: int = 2) -> np.ndarray:
    plan = _core.make_plan(batch, make_slots(config), shards)
    answers = [ask(snapshot, request)[0] for snapshot, request in zip(load_shards(rows, shards), plan.requests, strict=True)]
    return assemble(plan, answers)[0].astype(np.float64)


@settings(max_examples=examples(150), deadline=None)
@given(
    samples=st.lists(st.lists(st.tuples(ID, WEIGHT), max_size=6), min_size=1, max_size=5),
    pooling=st.sampled_from(["sum", "mean", "sqrtn"]),
    stack=STACK,
    shards=st.integers(1, 3),
    as_ids=st.booleans(),
)
def test_weighted_rows_are_pooled_as_said(
    samples: Samples, pooling: str, stack: dict[str, int] | None, shards: int, as_ids: bool
) -> None:
    config = config_of(pooling, stack)
    rows = rows_of(config, {id for sample in samples for id, _ in sample})
    batch = _core.decode_batch(sent(samples))
    if as_ids:  # as a middleware gets it
        batch = _core.decode_ids(batch.encode_ids())
    got = looked_up(batch, config, rows, shards)
    for i, sample in enumerate(samples):
        terms = [(w, rows[sign].astype(np.float64)) for id, w in sample for sign in signs_of_id(id, config.slots["f"])]
        total = sum((np.float32(w) * row for w, row in terms), np.zeros(DIM))
        divisor = 1.0
        if pooling == "mean":
            divisor = sum(np.float64(np.float32(w)) for w, _ in terms)
        elif pooling == "sqrtn":
            divisor = np.sqrt(sum(np.float64(np.float32(w)) ** 2 for w, _ in terms))
        want = np.clip(total / divisor, -65504, 65504) if divisor else np.zeros(DIM)
        slack = 1e-5 * sum(abs(w) * np.abs(row).max() for w, row in terms) / abs(divisor) if divisor else 0.0
        np.testing.assert_allclose(got[i], want, rtol=1e-3, atol=float(slack) + 1e-7)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_torch_says_the_same(pooling: str, weighted: bool) -> None:
    generator = np.random.default_rng(7)
    ids = [generator.integers(0, 20, generator.integers(0, 6)).tolist() for _ in range(50)]
    weights = [generator.random(len(sample)).astype(np.float32).tolist() for sample in ids]
    config = config_of(pooling, weighted=weighted)
    table = generator.random((20, DIM)).astype(np.float32)
    rows = {signs_of_id(id, config.slots["f"])[0]: row for id, row in enumerate(table)}
    batch = PersiaBatch([IDTypeFeature("f", ids, weights=weights if weighted else None)])
    got = looked_up(_core.decode_batch(batch.to_bytes()), config, rows)

    flat = torch.tensor([id for sample in ids for id in sample])
    offsets = torch.tensor([0, *np.cumsum([len(sample) for sample in ids])[:-1].tolist()])
    factors = torch.tensor([weight for sample in weights for weight in sample]) if weighted else None
    bag = torch.nn.EmbeddingBag.from_pretrained(
        torch.tensor(table), mode="mean" if pooling == "mean" and not weighted else "sum"
    )
    want = bag(flat, offsets, per_sample_weights=factors)
    if pooling == "mean" and weighted:  # which torch leaves to its users
        ones = torch.nn.EmbeddingBag.from_pretrained(torch.ones(20, 1), mode="sum")
        want = torch.nan_to_num(want / ones(flat, offsets, per_sample_weights=factors))
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_weights_of_any_size_make_a_mean_within_its_rows() -> None:
    config = config_of("mean")
    rows = rows_of(config, {1, 2})
    first, second = (rows[signs_of_id(id, config.slots["f"])[0]] for id in (1, 2))
    got = looked_up(_core.decode_batch(sent([[(1, 3e38), (2, 3e38)], [(1, 1e-40), (2, 3e-40)], [(1, 0.0)], []])), config, rows)
    np.testing.assert_allclose(got[0], (first + second) / 2, rtol=1e-3)
    np.testing.assert_allclose(got[1], first / 4 + second * 0.75, rtol=1e-3)
    assert not got[2:].any()


def test_a_missing_shard_adds_nothing() -> None:
    plan = _core.make_plan(_core.decode_batch(sent([[(1, 2.0)]])), make_slots(config_of("sum")), 2)
    (tensor,) = assemble(plan, [None, None])
    assert tensor.tolist() == [[0, 0, 0]]
    assert Shards(2).answers(1)


def test_weights_travel_as_the_last_dense_tensor_and_no_model_sees_them() -> None:
    batch = PersiaBatch(
        [IDTypeFeature("f", [[1, 2], [3]], weights=[[0.5, 2], [3]]), IDTypeFeatureWithSingleID("one", [4, 5], weights=[1, 2])],
        [NonIDTypeFeature(np.ones((2, 1), np.float32))],
    ).to_bytes()
    as_persia_reads = Reference.read(batch).dense
    assert [name for name, _ in as_persia_reads] == ["non_id_type_feature_anonymous", "f.weights", "one.weights"]
    assert as_persia_reads[1][1].tolist() == [[0.5, 2], [3, 0]] and as_persia_reads[2][1].tolist() == [[1], [2]]
    decoded = _core.decode_batch(batch)
    assert decoded.dense_names == ["non_id_type_feature_anonymous"] and len(decoded.dense) == 1
    weights = [feature.weights for feature in decoded.features]
    assert [None if array is None else array.tolist() for array in weights] == [[0.5, 2, 3], [1, 2]]
    again = _core.decode_ids(decoded.encode_ids())
    assert [None if array is None else array.tolist() for array in (f.weights for f in again.features)] == [[0.5, 2, 3], [1, 2]]


def test_a_tensor_named_so_without_its_feature_is_a_dense_tensor() -> None:
    batch = PersiaBatch([IDTypeFeature("f", [[1]])], [NonIDTypeFeature(np.ones((1, 1), np.float32), "g.weights")])
    assert _core.decode_batch(batch.to_bytes()).dense_names == ["g.weights"]


def raw_batch(weights: np.ndarray | None, feature: str = "f") -> _core.Batch:
    """As a client could send it that is not ours."""
    encoder = _core.BatchEncoder()
    encoder.add_id_lists(feature, [np.array([1, 2], np.uint64), np.array([3], np.uint64)])
    if weights is not None:
        encoder.add_dense(weights, f"{feature}.weights")
    return _core.decode_batch(encoder.to_bytes())


ONES = np.ones((2, 2), np.float32)


@pytest.mark.parametrize(
    ("weights", "feature", "problem"),
    [
        (None, "f", "expected a weight for each id, .* got none: send them as the dense tensor 'f.weights' .`weights` in JSON"),
        (ONES, "plain", "expected no weights, as the embedding config does not have `weighted: true`"),
        (ONES.astype(np.float64), "f", r"float32 and shape \(2, 2\), .* got float64 of shape \(2, 2\)"),
        (ONES[:, :1].copy(), "f", r"shape \(2, 2\), .* got float32 of shape \(2, 1\)"),
        (ONES[:1], "f", r"shape \(2, 2\), .* got float32 of shape \(1, 2\)"),
        (ONES[0], "f", r"shape \(2, 2\), .* got float32 of shape \(2\)"),
        (ONES * np.float32(np.nan), "f", "weights that are finite, got nan in sample 0"),
        (np.array([[1, 1], [np.inf, 1]], np.float32), "f", "weights that are finite, got inf in sample 1"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_feature(weights: np.ndarray | None, feature: str, problem: str) -> None:
    with pytest.raises(FeatureError, match=problem) as caught:
        _core.make_plan(raw_batch(weights, feature), make_slots(config_of("sum")), 1)
    assert caught.value.feature == feature


def test_what_fills_a_wider_matrix_up_does_not_matter() -> None:
    wide = np.array([[0.5, 2, np.nan], [3, np.nan, np.nan]], np.float32)
    (feature,) = raw_batch(wide).features
    assert feature.weights is not None and feature.weights.tolist() == [0.5, 2, 3]


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ([[1, 2]], "expected weights of 2 samples, the batch size, got 1"),
        ([[1], [2]], "expected 2 weights in sample 0, one for each id, got 1"),
        ([1, 2], "expected 3 weights, one for each id, got 2"),
        ([["a", "b"], ["c"]], "expected weights that are numbers, got strings"),
        ([[1, 2], [float("inf")]], "finite in float32, got inf in sample 1"),
        ([[1, 1e300], [1]], r"finite in float32, got 1e\+300 in sample 0"),
        ([[True, True], [False]], "expected weights that are numbers, got bool"),
    ],
)
def test_weights_are_refused_where_they_are_given(weights: Any, problem: str) -> None:
    with pytest.raises(FeatureError, match=problem) as caught:
        PersiaBatch([IDTypeFeature("f", [[1, 2], [3]], weights=weights)])
    assert caught.value.feature == "f"


def test_two_tensors_of_weights() -> None:
    encoder = _core.BatchEncoder()
    encoder.add_id_lists("f", [np.array([1], np.uint64)])
    for _ in range(2):
        encoder.add_dense(np.ones((1, 1), np.float32), "f.weights")
    with pytest.raises(FeatureError, match="expected one tensor of weights, got two"):
        _core.decode_batch(encoder.to_bytes())
