"""Batches of dicts and of tables: which column becomes what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from persia._core import decode_batch
from persia.batch import PersiaBatch
from persia.errors import FeatureError, InvalidInput
from persia.signs import hash_string
from tests.support.reference import Batch as Reference

FRAMES = [
    pytest.param(pd.DataFrame, id="pandas"),
    pytest.param(pl.DataFrame, id="polars"),
    pytest.param(pa.table, id="pyarrow"),
]
COLUMNS: dict[str, Any] = {
    "user": [1, -1],
    "city": ["a", "ü"],
    "tags": [[1], [2, 3]],
    "age": [0.5, 1.5],
    "price": [1.0, 2.0],
    "vector": [[1.0, 2.0], [3.0, 4.0]],
}


def read(batch: PersiaBatch) -> tuple[dict[str, list[list[int]]], dict[str, list[Any]], Reference]:
    got = Reference.read(batch.to_bytes())
    features = {feature.name: feature.samples() for feature in got.features or []}
    return features, {str(name): array.tolist() for name, array in got.dense}, got


@pytest.mark.parametrize("frame", FRAMES)
def test_types_say_what_a_column_is(frame: Any) -> None:
    features, dense, got = read(PersiaBatch.from_dataframe(frame(COLUMNS)))
    assert features == {
        "user": [[1], [2**64 - 1]],
        "city": [[hash_string("a")], [hash_string("ü")]],
        "tags": [[1], [2, 3]],
    }
    assert dense == {"vector": [[1, 2], [3, 4]], "dense": [[0.5, 1], [1.5, 2]]}
    assert {array.dtype for _, array in got.dense} == {np.dtype(np.float32)} and not got.requires_grad


@pytest.mark.parametrize("frame", FRAMES)
def test_columns_may_be_named(frame: Any) -> None:
    table = frame({**COLUMNS, "clicked": [True, False], "tag_weights": [[0.5], [1.0, 2.0]], "noise": [1, 2]})
    batch = PersiaBatch.from_dataframe(table, ["tags", "city"], ["user", "price"], ["clicked"], weights={"tags": "tag_weights"})
    features, dense, got = read(batch)
    assert list(features) == ["city", "tags"]  # in the table's order
    assert dense == {"dense": [[1, 1], [-1, 2]], "tags.weights": [[0.5, 0], [1, 2]]}
    assert [(name, array.tolist()) for name, array in got.labels] == [("clicked", [True, False])]


@pytest.mark.parametrize("frame", FRAMES)
def test_dense_tensors_may_be_named(frame: Any) -> None:
    table = frame({**COLUMNS, "count": [3, 4]})
    dense = {"numbers": ["price", "count"], "mixed": ["vector", "age"], "age": "user"}
    features, tensors, got = read(PersiaBatch.from_dataframe(table, ["city"], dense))
    assert list(features) == ["city"]
    assert tensors == {"numbers": [[1, 3], [2, 4]], "mixed": [[1, 2, 0.5], [3, 4, 1.5]], "age": [[1], [-1]]}
    assert {array.dtype for _, array in got.dense} == {np.dtype(np.float32)}
    guessed, tensors, _ = read(PersiaBatch.from_dataframe(table, dense={"numbers": ["price", "count"]}))
    assert list(guessed) == ["user", "city", "tags"] and list(tensors) == ["numbers"]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_column_of_weights_needs_no_name(frame: Any) -> None:
    batch = PersiaBatch.from_dataframe(frame({"tags": [[1], [2, 3]], "tags.weights": [[0.5], [1.0, 2.0]]}))
    (feature,) = decode_batch(batch.to_bytes()).features
    assert feature.weights is not None and feature.weights.tolist() == [0.5, 1, 2]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(
    ("columns", "arguments", "problem"),
    [
        ({"age": [0.5]}, {}, "expected a column of ids at least, of integers or strings, got age float64"),
        ({"user": [1]}, {"features": ["usr"]}, "expected a column 'usr', got 'user'"),
        ({"user": [1], "b": [2]}, {"features": ["user"], "dense": ["user"]}, "'user' named twice"),
        ({"user": [1], "flag": [True]}, {}, "'flag': .* got bool: name it as dense, if it is"),
        ({"user": [1], "city": ["a"]}, {"dense": ["city"]}, "'city': expected numbers for a dense tensor, got strings"),
        ({"user": [1.5]}, {"features": ["user"]}, "'user': expected ids that are integers or strings, got float64"),
        ({"user": [1, 2], "v": [[1.0], [1.0, 2.0]]}, {}, r"'v': expected lists of one length, got \[1, 2\]"),
        ({"user": [1], "x": [1e300]}, {}, r"'x': expected numbers that float32 can hold, got 1e\+300"),
        ({"user": [1], "dense": [[0.5]], "x": [0.5]}, {}, "expected nothing else to be named 'dense': .* here x"),
        ({"user": [1]}, {"dense": {"x": ["y"]}}, "expected a column 'y', got 'user'"),
        ({"user": [1], "x": [1]}, {"dense": {"a": ["x"], "b": ["x"]}}, "'x' named twice"),
        (
            {"user": [1], "x": [1]},
            {"dense": {"user": ["x"]}},
            "another name than the features have, got 'user'",
        ),
        ({"user": [1]}, {"dense": {"x": []}}, "a column at least for the dense tensor 'x', got none"),
        ({"user": [1], "x": ["a"]}, {"dense": {"n": ["x"]}}, "'x': expected numbers for a dense tensor, got strings"),
        ({"user": [1], "w": [0.5]}, {"weights": {"usr": "w"}}, "expected weights of a feature, got those of 'usr'"),
        ({"tags": [[1, 2]], "w": [[0.5]]}, {"weights": {"tags": "w"}}, "'tags': expected 2 weights in sample 0"),
        ({"user": [1], "label": ["a"]}, {"labels": ["label"]}, "'label': expected a label of numbers, got strings"),
    ],
)
def test_what_makes_no_batch(frame: Any, columns: dict[str, Any], arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        PersiaBatch.from_dataframe(frame(columns), **arguments)


def test_what_is_no_table() -> None:
    for wrong in ({"a": [1]}, [1], pd.Series([1]), pl.LazyFrame({"a": [1]}), pa.array([1])):
        with pytest.raises(InvalidInput, match="expected a DataFrame"):
            PersiaBatch.from_dataframe(wrong)
    with pytest.raises(InvalidInput, match="names that are strings, got 0"):
        PersiaBatch.from_dataframe(pd.DataFrame([[1]]))
    with pytest.raises(InvalidInput, match="'a' twice"):
        PersiaBatch.from_dataframe(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_dict_of_columns() -> None:
    batch = PersiaBatch.from_dict(
        {"user": [5, 6], "tags": [["a"], []]},
        {"age": [[0.5], [1]], "count": [1, 2], "x": np.ones((2, 1)), "t": torch.ones(2, 3), "s": pd.Series([0.5, 1])},
        {"clicked": [True, False]},
        weights={"tags": [[2], []]},
        meta="m",
    )
    features, dense, got = read(batch)
    assert features == {"user": [[5], [6]], "tags": [[hash_string("a")], []]}
    assert dense["age"] == [[0.5], [1]] and dense["tags.weights"] == [[2], [0]]
    assert {str(name): array.dtype.str for name, array in got.dense} == {
        "age": "<f4",
        "count": "<i8",
        "x": "<f8",
        "t": "<f4",
        "s": "<f4",
        "tags.weights": "<f4",
    }
    assert got.labels[0][0] == "clicked" and got.meta == b"m" and not got.requires_grad


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (({"f": [1]}, {"x": [[1.0], [2.0, 3.0]]}), "'x': expected what numpy makes an array"),
        (({"f": [1]}, {"x": [None]}), "'x': expected bool, uint8, .* got object"),
        (({"f": [1]}, {"x": ["a"]}), "'x': expected bool, uint8, .* got <U1"),
        (({"f": [1]}, {"x": [1e300]}), "'x': expected numbers that float32 can hold"),
        (({"f": [1]}, {"x": [1.0, 2.0]}), "'x': expected 1 samples, the batch size, got 2"),
        (({"f": [1]}, {"x": 1.0}), "'x': expected an array of at least 1 dimension"),
        (({"f": [1]}, {"x": pd.Series(["a"])}), "'x': expected numbers for a dense tensor, got strings"),
        (({"f": ([1, 2], [0, 1])},), "'f': expected offsets from 0 to the number of values"),
    ],
)
def test_a_dict_that_makes_no_batch(arguments: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(FeatureError, match=problem):
        PersiaBatch.from_dict(*arguments)
    with pytest.raises(FeatureError, match="'g': expected weights of a feature of the batch"):
        PersiaBatch.from_dict({"f": [1]}, weights={"g": [1]})


def test_single_numbers_stand_in_the_order_in_which_they_are_named() -> None:
    frame = pd.DataFrame({"user": [1], "price": [0.5], "age": [30.0]})
    for order in (["age", "price"], ["price", "age"]):
        batch = decode_batch(PersiaBatch.from_dataframe(frame, dense=order).to_bytes())
        assert batch.dense[0].tolist() == frame[order].to_numpy().tolist()
