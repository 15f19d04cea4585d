"""Scores as bytes and back: one output or several, every format, NaN, and what an answer was made of."""

from __future__ import annotations

import io
import json
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from persia.dense.outputs import named_outputs
from persia.errors import DeadlineExceeded, InvalidInput, PersiaError
from persia.handlers.answers import answer_of
from persia.torchserve.details import Details, FeatureDetails, detail_headers, split_details, with_details
from persia.torchserve.scores import decode_scores, encode_named_scores, encode_scores

ONE = torch.tensor([[0.25], [0.5]])
TWO = {"ctr": ONE, "cvr": torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16)}


class Named(NamedTuple):
    a: torch.Tensor
    b: torch.Tensor


def test_outputs_have_the_models_names_or_their_places() -> None:
    assert list(named_outputs(ONE)) == [None]
    assert list(named_outputs((ONE, ONE))) == list(named_outputs([ONE, ONE])) == ["output0", "output1"]
    assert list(named_outputs(Named(ONE, ONE))) == ["a", "b"]
    for wrong in (None, 1.0, {}, (), (ONE, 1), {1: ONE}, {"a": [ONE]}, "ab"):
        with pytest.raises(PersiaError, match="from the model, got"):
            named_outputs(wrong)


def test_one_output_is_answered_as_ever() -> None:
    assert answer_of(ONE, {}) == answer_of(ONE, {"format": b"json"}) == b"[\n  0.25,\n  0.5\n]"
    assert answer_of(ONE, {"format": b"raw"}) == np.array([0.25, 0.5], np.float32).tobytes()
    assert decode_scores(answer_of(ONE, {"format": b"npy"})).shape == (2, 1)
    assert decode_scores(answer_of(ONE, {"format": b"npz"}))["scores"].shape == (2, 1)


def test_several_outputs_are_an_object_or_an_npz_file() -> None:
    assert json.loads(answer_of(TWO, {})) == {"ctr": [[0.25], [0.5]], "cvr": [[1, 2], [3, 4]]}
    assert json.loads(answer_of((ONE, ONE), {})).keys() == {"output0", "output1"}
    for asked in (b"npy", b"npz"):
        scores = decode_scores(answer_of(TWO, {"format": asked}))
        assert {name: array.dtype.name for name, array in scores.items()} == {"ctr": "float32", "cvr": "float32"}
        np.testing.assert_array_equal(scores["cvr"], [[1, 2], [3, 4]])
    with pytest.raises(
        InvalidInput, match="expected json, npy or npz as `format` of a model with the outputs ctr, cvr, got raw"
    ):
        answer_of(TWO, {"format": b"raw"})
    assert decode_scores(answer_of(TWO, {})).keys() == TWO.keys()


@pytest.mark.parametrize("name", ["file", "a/b", "", "../x", "ü", "x.npy"])
def test_any_name_of_an_output_comes_back(name: str) -> None:
    assert list(decode_scores(encode_named_scores({name: np.ones(2)}))) == [name]


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8", "f2", "i8", "u1", "?"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 2, 3)])
def test_the_bytes_are_those_that_numpy_itself_saves(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    saved = io.BytesIO()
    np.save(saved, array.astype(array.dtype.newbyteorder("<")))
    assert encode_scores(array) == encode_scores(np.array(array, order="F")) == saved.getvalue()


ODD = torch.tensor([[0.5, 1.0], [2.0, float("nan")], [float("-inf"), 0.0]])


@pytest.mark.parametrize("asked", [b"json", b"npy", b"npz", b"raw"])
def test_scores_that_are_no_numbers_are_an_error_in_every_format(asked: bytes) -> None:
    with pytest.raises(
        PersiaError, match=r"the model answered NaN for sample 1 \(the archive's setting `non_finite_scores: null`"
    ):
        answer_of(ODD, {"format": asked})
    if asked != b"raw":
        with pytest.raises(PersiaError, match="the model answered infinity for sample 0 as 'b'"):
            answer_of({"a": ONE, "b": ODD[2:]}, {"format": asked})


def test_where_the_archive_lets_them_pass_json_has_null() -> None:
    assert json.loads(answer_of(ODD, {}, "null")) == [0.5, 1, 2, None, None, 0]
    assert json.loads(answer_of({"x": ODD}, {}, "null")) == {"x": [[0.5, 1], [2, None], [None, 0]]}
    np.testing.assert_array_equal(decode_scores(answer_of(ODD, {"format": b"npy"}, "null")), ODD.numpy())
    np.testing.assert_array_equal(decode_scores(answer_of(ODD, {}, "null")), [0.5, 1, 2, np.nan, np.nan, 0])


DETAILS = Details(
    model="ctr",
    model_version="2.0",
    model_hash="0123456789abcdef",
    table_versions=(3, 0),
    checkpoint="00000000000000ff",
    epoch=42,
    embedding_config="fedcba9876543210",
    new_ids=2,
    features={"user": FeatureDetails(3, 2, 0, 0), "tags": FeatureDetails(1, 0, 0, 1)},
)


@pytest.mark.parametrize("asked", [b"json", b"npy", b"npz", b"raw"])
def test_details_come_in_front_of_the_scores_or_beside_them(asked: bytes) -> None:
    scores = answer_of(ONE, {"format": asked})
    details, rest = split_details(with_details(scores, DETAILS, asked == b"json"))
    assert details == DETAILS and rest == scores
    assert split_details(scores) == (None, scores)
    if asked == b"json":
        assert json.loads(with_details(scores, DETAILS, True))["details"]["features"]["user"] == [3, 2, 0, 0]


def test_headers_name_the_features_with_new_ids_as_long_as_they_are_few() -> None:
    headers = detail_headers(DETAILS)
    assert headers == {
        "x-persia-model-version": "2.0",
        "x-persia-model-hash": "0123456789abcdef",
        "x-persia-table-versions": "3,0",
        "x-persia-checkpoint": "00000000000000ff",
        "x-persia-epoch": "42",
        "x-persia-embedding-config": "fedcba9876543210",
        "x-persia-new-ids": '{"user":2}',
    }
    many = {f"ü\r\n{i}": FeatureDetails(1, 1, 0, 0) for i in range(1000)}
    long = Details(model="", model_version="1", model_hash="", new_ids=1000, features=many, missing_shards=(1,))
    assert detail_headers(long)["x-persia-new-ids"] == '{"*":1000}'
    assert detail_headers(long)["x-persia-missing-shards"] == "1"
    few = Details(model="", model_version="1", model_hash="", new_ids=1, features=dict(list(many.items())[:1]))
    text = detail_headers(few)["x-persia-new-ids"]
    assert text.isascii() and text.isprintable()


@given(st.binary(max_size=80), st.sampled_from([b"", b"\x93PERSIA\x01", b'{"details":', b"PK\x03\x04", b"\x93NUMPY\x01\x00"]))
def test_whatever_comes_is_scores_or_an_error(data: bytes, begin: bytes) -> None:
    try:
        _, scores = split_details(begin + data)
        decoded: Any = decode_scores(scores)
    except (PersiaError, DeadlineExceeded):
        return
    assert isinstance(decoded, (np.ndarray, dict))
