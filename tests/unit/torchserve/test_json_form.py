"""The JSON form of features: the same batch as our library makes, or an error that names the place."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia import _core
from persia.batch import NonIDTypeFeature
from persia.errors import InvalidInput, PersiaError
from persia.signature import DenseSignature, FeatureSignature, Signature
from persia.signs import hash_string
from persia.torchserve.json_form import request_of_json


def batch_of(form: Any, signature: Signature | None = None) -> _core.Batch:
    return _core.decode_batch(request_of_json(form, signature)["batch"])


def ids_of(batch: _core.Batch) -> dict[str, list[list[int]]]:
    """Of each feature, for each sample its ids in order."""
    found = {}
    for feature in batch.features:
        samples = [[0] * count for count in feature.ids_per_sample.tolist()]
        offsets = feature.offsets.tolist()
        for id, begin, end in zip(feature.ids.tolist(), offsets, offsets[1:], strict=False):
            for sample, column in feature.positions[begin:end].tolist():
                samples[sample][column] = id
        found[feature.name] = samples
    return found


def test_ids_are_numbers_or_text_alone_or_in_lists() -> None:
    form = {"features": {"user": [101, -5], "tags": [[7, 9, 7], []], "country": ["DE", None], "words": [["a", "b"], "2"]}}
    for given_form in (form, json.dumps(form).encode()):
        assert ids_of(batch_of(given_form)) == {
            "user": [[101], [2**64 - 5]],
            "tags": [[7, 9, 7], []],
            "country": [[hash_string("DE")], []],
            "words": [[hash_string("a"), hash_string("b")], [hash_string("2")]],
        }


@pytest.mark.parametrize(
    ("dense", "dtype", "want", "want_dtype"),
    [
        ([[0.1, 2], [3, None]], None, [[0.1, 2], [3, np.nan]], "float32"),
        ([1, 2], None, [1, 2], "float32"),
        ([1, 2**70], "float64", [1, 2**70], "float64"),
        ([3, -4], "int32", [3, -4], "int64"),  # the signature's check makes int32 of it
        ([True, False], "bool", [True, False], "bool"),
        ([[]], None, [[]], "float32"),
    ],
)
def test_dense_numbers_are_of_the_signatures_kind_else_float32(
    dense: Any, dtype: str | None, want: Any, want_dtype: str
) -> None:
    for name in ("numbers", NonIDTypeFeature.DEFAULT_NAME):  # of the signature
        expected = [DenseSignature(name=name, shape=(), dtype=dtype)] if dtype else []
        signature = Signature(features=(), dense=tuple(expected), embedding_config="")
        form = {"features": {"user": [1] * len(dense)}, "dense": {"numbers": dense}}
        (array,) = batch_of(form, signature).dense
        assert array.dtype == want_dtype
        np.testing.assert_array_equal(array, np.array(want, want_dtype))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"country": ["DE", "FR"], "user": [[1], []]}, None),
        ({"country": [None, []], "user": [-1, None]}, None),
        ({"country": [[], [7]]}, "$.features.country[1][0]: expected text, .*, got a whole number: send it in quotes"),
        ({"user": [None, "101"]}, "$.features.user[1]: expected a whole number, .*, got text: send it without quotes"),
        ({"free": ["a", "b"]}, None),
    ],
)
def test_ids_are_of_the_signatures_kind(ids: dict[str, Any], message: str | None) -> None:
    of: dict[str, Any] = {"prefix": 0, "prefix_bits": 8, "dim": 4}
    kinds: dict[str, Any] = {"country": "text", "user": "integer", "free": None}
    features = tuple(FeatureSignature(name=name, ids=kind, **of) for name, kind in kinds.items())
    signature = Signature(features=features, embedding_config="")
    if message is None:
        assert batch_of({"features": ids}, signature).feature_names == list(ids)
        return
    with pytest.raises(InvalidInput, match=re.escape(message).replace(r"\.\*", ".*")):
        batch_of({"features": ids}, signature)
    batch_of({"features": ids})


def test_what_else_is_asked_for_becomes_what_the_handler_reads() -> None:
    form = {"features": {"user": [1]}, "format": "npy", "details": True, "deadline_unix_ms": 17}
    request = request_of_json(form)
    assert {key: value for key, value in request.items() if key != "batch"} == {
        "format": b"npy", "details": b"1", "deadline_unix_ms": b"17"
    }  # fmt: skip
    assert set(request_of_json({"features": {"user": [1]}, "details": False})) == {"batch"}


USER = {"user": [1]}


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (b"{", "got something else: Expecting property name"),
        (b"\xff", "got something else: .*utf-8.* 0xff"),
        (b"[" * 100_000, "by the thousand"),
        (b'{"features": {"a": [1]}, "dense": {"x": [NaN]}}', "NaN is no number of JSON"),
        (b'{"features": {"a": [1], "a": [2]}}', "the key 'a' stands twice in one object"),
        ([1], "expected a JSON object with `features`, got a list"),
        ({}, "$.features is missing: expected an object with `features`"),
        ({"features": {}}, "$.features: expected at least one feature, got none"),
        ({"features": USER, "denses": {}}, "$.denses: unknown key, expected features, .*; did you mean 'dense'?"),
        ({"features": {"user": 101}}, "$.features.user: expected a list with an entry for each sample, got a whole number"),
        ({"features": {"user": []}}, "$.features.user: expected at least one sample, got an empty list"),
        (
            {"features": {"user": [1.0]}},
            "$.features.user[0]: expected an id, .*, got the number 1.0 with a fraction or an exponent",
        ),
        ({"features": {"user": [1.5]}}, "$.features.user[0]: expected an id, .*, got a number with a fraction"),
        ({"features": {"user": [[1], [2, True]]}}, "$.features.user[1][1]: expected an id, .*, got true or false"),
        (
            {"features": {"user": [[5, 6], ["7"]]}},
            "$.features.user[1][0]: expected ids of one kind, whole numbers or text, got text after a whole number",
        ),
        ({"features": {"user": [[[1]]]}}, "$.features.user[0][0]: expected an id, .*, got a list"),
        (
            {"features": {"user": [2**64]}},
            "$.features.user[0]: expected an id from -2^63 to 2^64 - 1, got 18446744073709551616",
        ),
        ({"features": {"user": [[1], [-(2**63) - 1]]}}, "$.features.user[1][0]: expected an id from -2^63"),
        ({"features": {"user": ["\ud800"]}}, "$.features.user: expected text that UTF-8 can hold"),
        ({"features": {"user": [1], "tags": [[1], [2]]}}, "'tags': expected 1 samples as in 'user', got 2"),
        ({"features": USER, "dense": {"x": [1, 2]}}, "'x': expected 1 samples as in 'user', got 2"),
        (
            {"features": USER, "dense": {"x": 0.5}},
            "$.dense.x: expected a list with an entry for each sample, got a number with",
        ),
        ({"features": USER, "dense": {"x": ["1"]}}, "$.dense.x: expected a number or a list of numbers for each sample"),
        ({"features": USER, "dense": {"x": [[1, None, "1"]]}}, "$.dense.x: expected a number or a list of numbers"),
        ({"features": {"user": [1, 2]}, "dense": {"x": [[1], [1, 2]]}}, "$.dense.x: .*, lists of the same length"),
        ({"features": USER, "dense": {"x": [1e39]}}, "$.dense.x[0]: expected numbers that float32 can hold, got a larger one"),
        ({"features": USER, "weights": {"usr": [1]}}, "$.weights.usr: expected the name of a feature .*; did you mean 'user'?"),
        (
            {"features": {"tags": [[1, 2]]}, "weights": {"tags": [[1]]}},
            "$.weights.tags: expected 2 weights in sample 0, .*, got 1",
        ),
        ({"features": USER, "weights": {"user": [1, 2]}}, "$.weights.user: expected weights of 1 samples, .*, got 2"),
        (
            {"features": USER, "weights": {"user": ["1"]}},
            "$.weights.user: expected weights that are numbers, got strings",
        ),
        ({"features": USER, "details": 1}, "$.details: expected true or false, got a whole number"),
        ({"features": USER, "format": 1}, "$.format: expected text, got a whole number"),
        ({"features": USER, "deadline_unix_ms": "1"}, "$.deadline_unix_ms: expected milliseconds since 1970, got text"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(form: Any, message: str) -> None:
    parts = [part for part in message.split(".*") if part]
    with pytest.raises(PersiaError) as caught:
        request_of_json(form)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_weights_travel_as_a_dense_tensor_with_zeros_for_missing_ids() -> None:
    form = {"features": {"tags": [[7, 9], [], 5]}, "weights": {"tags": [[0.5, 2], [], 1]}}
    built = request_of_json(form)["batch"]
    assert b"tags.weights" in built
    assert np.array([[0.5, 2], [0, 0], [1, 0]], np.float32).tobytes() in built


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
forms = st.fixed_dictionaries(
    {"features": st.dictionaries(st.text(max_size=3), json_values | st.lists(json_values, max_size=3), max_size=3)},
    optional={"dense": json_values, "weights": json_values, "format": json_values, "details": json_values},
)


@given(json_values | forms)
def test_whatever_is_sent_becomes_a_batch_or_an_error_of_the_caller(form: Any) -> None:
    try:
        batch = batch_of(form)
    except PersiaError as error:
        assert error.code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
        return
    assert batch.feature_names == list(form["features"])


def lists_of(ids: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Any]]]:
    return st.lists(st.lists(ids, max_size=3), min_size=1, max_size=3)


@given(lists_of(st.integers(-(2**63), 2**64 - 1)) | lists_of(st.text(max_size=4)))
def test_ids_arrive_as_they_were_sent(samples: list[list[int | str]]) -> None:
    want = [[hash_string(id) if isinstance(id, str) else id % 2**64 for id in sample] for sample in samples]
    assert ids_of(batch_of(json.dumps({"features": {"x": samples}}).encode())) == {"x": want}
