"""Ids in every form that people have them in: what arrives, and what is refused by name and sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, PersiaBatch
from persia.errors import FeatureError, InvalidInput
from persia.ids import ids_of
from persia.signs import hash_string, hash_strings
from tests.support.reference import Batch as Reference

TOP = 1 << 64
A, B = hash_string("a"), hash_string("ü")

I64 = st.integers(-(1 << 63), (1 << 63) - 1)
ANY = st.integers(-(1 << 63), TOP - 1)
TEXT = st.text(max_size=12)


def sent(batch: PersiaBatch) -> dict[str, list[list[int]]]:
    return {feature.name: feature.samples() for feature in Reference.read(batch.to_bytes()).features or []}


def arrived(data: Any) -> list[list[int]]:
    return sent(PersiaBatch.from_dict({"f": data}))["f"]


ONE_EACH: list[Any] = [
    [5, -1],
    (5, -1, 5)[:2],
    [5, TOP - 1],
    [np.int64(5), np.int32(-1)],
    np.array([5, -1]),
    np.array([5, -1], np.int8),
    np.array([5, -1], ">i4"),
    np.array([5, TOP - 1], np.uint64),
    np.array([5, TOP - 1], object),
    torch.tensor([5, -1]),
    torch.tensor([5, -1], dtype=torch.int32),
    pd.Series([5, -1]),
    pd.Index([5, -1]),
    pd.Series([5, -1], dtype="Int64"),
    pd.Series([5, TOP - 1], dtype="UInt64"),
    pd.Series([5, -1], dtype="category"),
    pd.Series([5, -1], dtype=pd.ArrowDtype(pa.int64())),
    pd.Series([5, -1], index=[9, 9]),
    pl.Series([5, -1]),
    pl.Series([5, TOP - 1], dtype=pl.UInt64),
    pa.array([5, -1]),
    pa.array([0, 5, -1, 7]).slice(1, 2),
    pa.chunked_array([[5], [-1]]),
    pa.array([5, -1]).dictionary_encode(),
]
STRINGS: list[Any] = [
    ["a", "ü"],
    [np.str_("a"), "ü"],
    np.array(["a", "ü"]),
    np.array(["a", "ü"], object),
    pd.Series(["a", "ü"]),
    pd.Series(["a", "ü"], dtype=object),
    pd.Series(["a", "ü"], dtype="category"),
    pd.Series(["a", "ü"], dtype=pd.ArrowDtype(pa.string())),
    pd.Index(["a", "ü"]),
    pd.CategoricalIndex(["a", "ü"]),
    pl.Series(["a", "ü"]),
    pl.Series(["a", "ü"], dtype=pl.Categorical),
    pa.array(["a", "ü"]),
    pa.array(["longer", "a", "ü", "x"]).slice(1, 2),
    pa.array(["a", "ü"], pa.large_string()),
    pa.chunked_array([["a"], ["ü"]]),
    pa.array(["ü", "a", "ü"]).dictionary_encode().slice(1),
]
LISTS: list[Any] = [
    [[5, 6], [], [-1]],
    [(5, 6), (), (-1,)],
    [np.array([5, 6]), np.array([]), np.array([TOP - 1], np.uint64)],
    [np.array([5, 6], np.uint64), np.array([], np.uint64), np.array([TOP - 1], np.uint64)],
    [torch.tensor([5, 6]), torch.tensor([]), torch.tensor([-1])],
    (np.array([5, 6, -1]), np.array([0, 2, 2, 3])),
    ([5, 6, -1], [0, 2, 2, 3]),
    pd.Series([[5, 6], [], [-1]]),
    pd.Series([np.array([5, 6]), np.array([], np.int64), np.array([-1])]),
    pd.Series([[5, 6], [], [-1]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    pl.Series([[5, 6], [], [-1]]),
    pa.array([[5, 6], [], [-1]]),
    pa.array([[1], [5, 6], [], [-1], [2]]).slice(1, 3),
    pa.array([[5, 6], [], [-1]], pa.large_list(pa.int32())),
    pa.chunked_array([pa.array([[5, 6]]), pa.array([[], [-1]], pa.list_(pa.int64()))]),
]


def shown(data: Any) -> str:
    return f"{type(data).__module__.partition('.')[0]}-{getattr(data, 'dtype', getattr(data, 'type', ''))}"


@pytest.mark.parametrize("data", ONE_EACH, ids=shown)
def test_one_id_for_each_sample(data: Any) -> None:
    assert arrived(data) == [[5], [TOP - 1]]
    assert sent(PersiaBatch([IDTypeFeatureWithSingleID("f", data)]))["f"] == [[5], [TOP - 1]]


@pytest.mark.parametrize("data", STRINGS, ids=shown)
def test_strings_are_hashed(data: Any) -> None:
    assert arrived(data) == [[A], [B]]
    assert hash_strings(data).tolist() == [A, B]


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy before 2.0 has no strings of any length")
def test_strings_of_numpys_own_type() -> None:
    assert arrived(np.array(["a", "ü"], "T")) == [[A], [B]]


@pytest.mark.parametrize("data", LISTS, ids=shown)
def test_any_number_of_ids_for_each_sample(data: Any) -> None:
    assert arrived(data) == [[5, 6], [], [TOP - 1]]
    if not isinstance(data, tuple):
        assert sent(PersiaBatch([IDTypeFeature("f", data)]))["f"] == [[5, 6], [], [TOP - 1]]


@pytest.mark.parametrize(
    "data",
    [
        np.array([[5, 6], [7, -1]]),
        torch.tensor([[5, 6], [7, -1]]),
        pl.Series([[5, 6], [7, -1]], dtype=pl.Array(pl.Int64, 2)),
        pa.array([[5, 6], [7, -1]], pa.list_(pa.int64(), 2)),
        [[5, 6], [7, -1]],
        np.array([[5, 6], [7, -1]], object),
    ],
    ids=shown,
)
def test_as_many_ids_for_each_sample(data: Any) -> None:
    assert arrived(data) == [[5, 6], [7, TOP - 1]]


@pytest.mark.parametrize(
    "data",
    [
        [["a", "ü"], [], ["a"]],
        pl.Series([["a", "ü"], [], ["a"]]),
        pa.array([["a", "ü"], [], ["a"]]),
        pd.Series([["a", "ü"], [], ["a"]]),
        (["a", "ü", "a"], [0, 2, 2, 3]),
    ],
    ids=shown,
)
def test_lists_of_strings(data: Any) -> None:
    assert arrived(data) == [[A, B], [], [A]]


@given(st.lists(ANY, min_size=1, max_size=8))
def test_any_integers_of_64_bits(ids: list[int]) -> None:
    assert ids_of("f", ids).tolist() == [id % TOP for id in ids]
    assert ids_of("f", np.array(ids, object)).tolist() == [id % TOP for id in ids]


@given(st.lists(st.lists(I64, max_size=4), max_size=5))
def test_lists_arrive_alike_from_every_library(samples: list[list[int]]) -> None:
    want = [[id % TOP for id in ids] for ids in samples]
    assert arrived(pa.array(samples, pa.list_(pa.int64()))) == want
    assert arrived(pl.Series("f", samples, pl.List(pl.Int64))) == want
    if samples:
        assert arrived(samples) == arrived(pd.Series(samples)) == want


@given(st.lists(TEXT, min_size=1, max_size=8))
def test_strings_hash_alike_from_every_library(texts: list[str]) -> None:
    want = [hash_string(text) for text in texts]
    for data in (texts, pa.array(texts), pl.Series(texts), pd.Series(texts, dtype=object), np.array(texts, object)):
        assert hash_strings(data).tolist() == want


def test_uint64_is_not_copied() -> None:
    ids = np.arange(5, dtype=np.uint64)
    assert ids_of("f", ids) is ids
    assert np.shares_memory(ids_of("f", ids.view(np.int64)), ids)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([1, "a"], "got str after int in sample 1"),
        (["a", 1], "got int after str in sample 1"),
        ([1, None], "got None in sample 1"),
        ([True, False], "integers or strings, got bool in sample 0"),
        ([1, True], "got bool after int in sample 1"),
        (np.array([True]), "integers or strings, got bool"),
        ([1.0, 2.0], "integers or strings, got float64 in sample 0: a float has lost the digits of a large id"),
        ([[5.0]], "got float64 in sample 0"),
        ([[], [1], [2, 3.0]], "got float64 in sample 2: a float"),
        (np.array([[1], [2.5]], object), "got float64 in sample 1: a float"),
        (np.array([[1.0, 2.0]]), "got float64 in sample 0: a float"),
        ([[True]], "got bool in sample 0"),
        ([np.array([1]), np.array([2.0])], "got integers in sample 0 and floats in sample 1"),
        ([np.array([]), np.array([1]), np.array(["a"])], "got integers in sample 1 and strings in sample 2"),
        (np.array([1.0, np.nan]), "got float64 in sample 1: NaN is not an id"),
        ([[1], [2, float("nan")]], "got float64 in sample 1: NaN is not an id"),
        (torch.tensor([1.0]), "got float32"),
        (torch.tensor([True]), "got bool"),
        ([[1], None], "got None for sample 1"),
        ([[1], [2, None]], "got None in sample 1"),
        ([[1], ["a"]], "got str after int in sample 1"),
        (["a", float("nan")], "got float after str in sample 1"),
        ([b"a"], r"integers or strings \(of dense inputs also floats\), .*got bytes in sample 0: decode\(\) makes strings"),
        (np.array([b"a"]), r"integers or strings \(of dense inputs also floats\), got \|S1"),
        ([TOP], "got 18446744073709551616 in sample 0"),
        (["\ud800"], "text that UTF-8 can hold"),
        ("abc", "a list, an array or a column, got str"),
        ({"a": 1}, "a list, an array or a column, got dict"),
        (np.ma.masked_array([1, 2], [False, True]), "no masked numbers"),
        (pd.Series([1, None]), "in sample 1: NaN .* pandas column"),
        (pd.Series([1, None], dtype="Int64"), "no empty cells, got one in sample 1"),
        (pd.Series(["a", None]), "no empty cells, got one in sample 1"),
        (pd.Series(["a", None], dtype="category"), "no empty cells, got one in sample 1"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), "got pandas.Timestamp"),
        (pd.DataFrame({"a": [1]}), "one column, got pandas.DataFrame"),
        (pl.Series([1, None]), "no empty cells, got one in sample 1"),
        (pl.Series([[1], [2, None]]), "no empty cells, got one in sample 1"),
        (pl.Series([1.5]), "got float64"),
        (pl.DataFrame({"a": [1]}), "one column, got polars.DataFrame"),
        (pa.array([1, None]), "no empty cells, got 1, the first in sample 1"),
        (pa.array([[1], None]), "no empty cells, got 1, the first in sample 1"),
        (pa.array([[1], [2, None]]), "no empty cells, got 1, the first in sample 1"),
        (pa.array([1.5]), "got double|got float64"),
        (pa.array([b"a"]), "got binary"),
        (pa.array([[[1]]]), "got lists of lists"),
        (pa.table({"a": [1]}), "one column, got pyarrow.Table"),
        ([[[1]]], "got list in sample 0"),
    ],
)
def test_what_is_no_id_is_refused_by_feature_and_sample(data: Any, problem: str) -> None:
    with pytest.raises(FeatureError, match=problem) as caught:
        PersiaBatch.from_dict({"f": data})
    assert caught.value.feature == "f"


@pytest.mark.parametrize("strings", [[1], [["a"]], ["a", 1], np.array([1])])
def test_what_is_no_string(strings: Any) -> None:
    with pytest.raises(InvalidInput):
        hash_strings(strings)
