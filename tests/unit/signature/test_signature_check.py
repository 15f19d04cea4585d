"""Requests against a signature: put into the model's order, converted without loss, or refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia import _core
from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, Label, NonIDTypeFeature, PersiaBatch
from persia.errors import ConfigError, FeatureError, InvalidInput
from persia.signature import DenseSignature, FeatureSignature, Signature
from persia.signature_check import SignatureCheck, in_order
from persia.signature_dense import checked_dense

ANONYMOUS = NonIDTypeFeature.DEFAULT_NAME


def signature(*dense: DenseSignature, features: str = "user item tags", **more: Any) -> Signature:
    made = [FeatureSignature(name=name, dim=4, prefix=i << 56, prefix_bits=8) for i, name in enumerate(features.split())]
    raw = FeatureSignature(name="seen", dim=2, pooling="raw", length=3, prefix=99 << 56, prefix_bits=8)
    return Signature(features=(*made, raw), dense=dense, embedding_config="f" * 32, **more)


def batch(features: str, *dense: tuple[Any, str | None], labels: str = "") -> _core.Batch:
    ids = [IDTypeFeatureWithSingleID(name, np.array([1, 2], np.uint64)) for name in features.split()]
    tensors = [NonIDTypeFeature(np.asarray(array), name) for array, name in dense]
    given_labels = [Label(np.ones(2, np.float32), name) for name in labels.split()]
    return _core.decode_batch(PersiaBatch(ids, tensors, given_labels, requires_grad=False).to_bytes())


ONE = DenseSignature(name=ANONYMOUS, shape=(2,), dtype="float32")
AGE = DenseSignature(name="age", shape=(), dtype="float32")
PRICE = DenseSignature(name="price", shape=(), dtype="float32")
TWO = np.ones((2, 2), np.float32)


@pytest.mark.parametrize("order", ["user item tags seen", "seen tags item user", "tags user seen item"])
def test_features_come_in_any_order_and_get_the_models(order: str) -> None:
    check = SignatureCheck(signature(ONE))
    for _ in range(2):  # the second time from memory
        placing, dense = check.place(batch(order, (TWO, None)))
        assert in_order(order.split(), placing) == ["user", "item", "tags", "seen"]
        np.testing.assert_array_equal(dense[0], TWO)


@pytest.mark.parametrize(
    ("features", "name", "message"),
    [
        ("user item seen", "tags", r"expected this feature, which the model takes, got a batch of 'user', 'item', 'seen'"),
        ("user item tag seen", "tag", r"the model takes no such feature, expected 'user', .*; did you mean 'tags'\?"),
        ("user item tags seen extra", "extra", "the model takes no such feature.* `extra_features: drop` would leave it out"),
    ],
)
def test_a_missing_or_unknown_feature_is_named(features: str, name: str, message: str) -> None:
    with pytest.raises(FeatureError, match=message) as caught:
        SignatureCheck(signature(ONE)).place(batch(features, (TWO, None)))
    assert caught.value.feature == name


def test_extra_features_are_dropped_where_the_archive_says_so() -> None:
    check = SignatureCheck(signature(ONE), drop_extra=True)
    order = "extra tags seen more user item"
    placing, _ = check.place(batch(order, (TWO, None)))
    assert in_order(order.split(), placing) == ["user", "item", "tags", "seen"]
    with pytest.raises(FeatureError, match=r"expected this feature.*; is it 'tag'\?"):
        check.place(batch("user item tag seen", (TWO, None)))


@pytest.mark.parametrize(("names", "order"), [(["age", "price"], [0, 1]), (["price", "age"], [1, 0]), ([None, "age"], [1, 0])])
def test_named_dense_tensors_come_in_any_order(names: list[str | None], order: list[int]) -> None:
    arrays = [np.array([1, 2], np.float32), np.array([3, 4], np.float32)]
    _, dense = SignatureCheck(signature(AGE, PRICE)).place(batch("user item tags seen", *zip(arrays, names, strict=True)))
    assert [array.tolist() for array in dense] == [arrays[place].tolist() for place in order]


NUMBERS = np.array([1, 2], np.float32)


@pytest.mark.parametrize(
    ("expected", "dense", "message"),
    [
        (
            [AGE, PRICE],
            [(NUMBERS, "age")],
            r"expected 'age' \(batch\), 'price' \(batch\) as dense tensors, got 'age': 'price' is",
        ),
        ([AGE], [(NUMBERS, "Age")], r"'Age': the model takes no such dense tensor, only 'age' \(batch\); did you mean 'age'\?"),
        ([AGE, PRICE], [(NUMBERS, "age"), (NUMBERS, "age")], "'age': the request has two dense tensors of this name"),
        ([AGE], [(NUMBERS, "age"), (NUMBERS, "click")], "'click': expected 'age' .* got a label: pass it as a label"),
        ([ONE], [(TWO, None), (NUMBERS, "label_anonymous")], "'label_anonymous': expected .* got a label"),
        (
            [ONE],
            [(TWO, None), (NUMBERS, None)],
            r"expected 1 dense tensors .*, got 2: .*; a label goes into the request's labels",
        ),
        ([ONE], [], r"expected 'non_id_type_feature_anonymous' \(batch, 2\) as dense tensors, got none: "),
        ([], [(TWO, None)], "expected 0 dense tensors .*; leave them out"),
        ([], [(TWO, "age")], "'age': the model takes no dense tensors, got one"),
        ([ONE], [(np.ones((2, 3), np.float32), None)], r"expected a shape of \(batch, 2\), got \(batch, 3\)"),
        (
            [AGE],
            [(np.array([1, np.nan], np.float32), "age")],
            "'age': expected finite numbers, got NaN in sample 1; .*--allow-nan",
        ),
        ([AGE], [(np.array([-np.inf, 1], np.float32), "age")], "'age': expected finite numbers, got infinity in sample 0"),
        (
            [AGE],
            [(np.array([1, 1e39], np.float64), "age")],
            r"'age': expected float32, got float64 with 1e\+39 in sample 1, which",
        ),
        ([AGE], [(np.array([1, 2**24 + 1], np.int64), "age")], "'age': expected float32, got int64 with 16777217 in sample 1"),
    ],
)
def test_a_wrong_dense_tensor_is_named(expected: list[DenseSignature], dense: list[Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        SignatureCheck(signature(*expected)).place(batch("user item tags seen", *dense, labels="click"))


def test_nan_passes_where_the_model_takes_it_and_unknown_dense_tensors_are_not_checked() -> None:
    odd = np.array([np.nan, np.inf], np.float32)
    takes = DenseSignature(name="age", shape=(), dtype="float32", nan_allowed=True)
    _, dense = SignatureCheck(signature(takes)).place(batch("user item tags seen", (odd, "age")))
    np.testing.assert_array_equal(dense[0], odd)
    _, dense = SignatureCheck(signature(dense_known=False)).place(batch("user item tags seen", (odd, "any"), (TWO, None)))
    assert len(dense) == 2


KINDS = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@given(
    st.sampled_from(KINDS),
    st.sampled_from(KINDS),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 300) | st.floats(), min_size=1, max_size=3),
)
def test_a_conversion_keeps_every_value_or_is_refused(source: str, target: str, values: list[float]) -> None:
    with np.errstate(all="ignore"):
        array = np.array([np.array(value).astype(source) for value in values])
    wanted = DenseSignature(name="x", shape=(), dtype=target, nan_allowed=True)
    try:
        got = checked_dense(wanted, array)
    except FeatureError as error:
        assert f"expected {target}, got {source} with " in str(error)
        assert source != target
        return
    assert got.dtype == target
    if source.startswith("float") and target.startswith("float"):
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(got, array.astype(target))
        assert np.array_equal(np.isinf(got), np.isinf(array))
    else:
        assert [exact(value) for value in got] == [exact(value) for value in array]


def exact(value: Any) -> int | float:
    """As Python compares numbers, without rounding."""
    number: int | float = value.item()
    return number


def test_the_very_array_comes_back_where_nothing_is_to_be_done() -> None:
    assert checked_dense(ONE, TWO) is TWO


SHAPES = np.array([(2, 0, 4)] * 3 + [(2, 3, 3)], np.uint32)


def test_embeddings_of_another_config_and_other_samples_are_refused() -> None:
    check = SignatureCheck(signature(ONE))
    placing, dense = check.place(batch("user item tags seen", (TWO, None)))
    check.check_embeddings(placing, SHAPES.reshape(-1), dense)
    wrong = SHAPES.copy()
    wrong[3] = (2, 5, 3)
    with pytest.raises(ConfigError, match=r"packed with tensors of \(batch, 3, 3\) for the feature 'seen'.*\(batch, 5, 3\)"):
        check.check_embeddings(placing, wrong.reshape(-1), dense)
    with pytest.raises(FeatureError, match="expected 3 samples as the id features have, got 2"):
        check.check_embeddings(placing, SHAPES.reshape(-1) + np.tile(np.array([1, 0, 0], np.uint32), 4), dense)


def test_a_batch_without_samples_or_features_is_clear() -> None:
    check = SignatureCheck(signature(ONE))
    empty = [IDTypeFeature(name, []) for name in ("user", "item", "tags", "seen")]
    dense = NonIDTypeFeature(np.ones((0, 2), np.float32))
    _, arrays = check.place(_core.decode_batch(PersiaBatch(empty, [dense], requires_grad=False).to_bytes()))
    assert arrays[0].shape == (0, 2)
    no_ids = bytes(4) + bytes(4) + bytes(4) + b"\0\0"
    with pytest.raises(FeatureError, match="'user': expected this feature, which the model takes, got a batch of none"):
        check.place(_core.decode_batch(no_ids))


def test_a_sample_of_a_single_feature_has_exactly_one_id() -> None:
    features = [
        FeatureSignature(name=name, dim=4, prefix=0, prefix_bits=8, single=name != "tags") for name in ("user", "tags", "city")
    ]
    check = SignatureCheck(Signature(features=tuple(features), embedding_config="f" * 32))

    def place(**ids: list[list[int]]) -> None:
        made = [IDTypeFeature(name, [np.array(each, np.uint64) for each in samples]) for name, samples in ids.items()]
        check.place(_core.decode_batch(PersiaBatch(made, requires_grad=False).to_bytes()))

    good = {"city": [[1], [2]], "tags": [[1, 2], []], "user": [[3], [3]]}
    for samples, sample, count in (([[1], []], 1, 0), ([[5, 6, 5], [1]], 0, 3), ([[1], [7, 7]], 1, 2)):
        place(**good)
        for name in ("user", "city"):
            with pytest.raises(
                FeatureError, match=f"expected exactly one id in each sample, got {count} in sample {sample}"
            ) as caught:
                place(**(good | {name: samples}))
            assert caught.value.feature == name


@given(st.lists(st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=2, max_size=2), min_size=1, max_size=3), st.data())
def test_the_first_sample_that_is_not_single_is_told(features: list[list[list[int]]], data: st.DataObject) -> None:
    made = [IDTypeFeature(f"f{i}", [np.array(ids, np.uint64) for ids in samples]) for i, samples in enumerate(features)]
    decoded = _core.decode_batch(PersiaBatch(made, requires_grad=False).to_bytes())
    places = data.draw(st.lists(st.integers(0, len(features) - 1)))
    wrong = [(place, i, len(ids)) for place in places for i, ids in enumerate(features[place]) if len(ids) != 1]
    assert decoded.first_not_single(places) == (wrong[0] if wrong else None)
    with pytest.raises(InvalidInput, match="expected a feature before place"):
        decoded.first_not_single([len(features)])


def test_what_names_mean_is_remembered_only_so_often() -> None:
    check = SignatureCheck(signature(ONE), drop_extra=True)
    for i in range(200):
        check.place(batch(f"user item tags seen other{i}", (TWO, None)))
    assert len(check._placings) == 64
