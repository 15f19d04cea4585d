"""The columns of a file arrive in batches with every id and number of theirs, or are refused: none is lost on the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from persia.client.inputs import Reading, batches_of_columns, batches_of_file, read_inputs
from persia.errors import InvalidInput
from persia.ids import ids_of
from persia.signs import hash_string
from tests.support.reference import Batch as Reference

Columns = dict[str, Any]

U64 = np.uint64
ID = st.integers(0, 9) | st.sampled_from([2**63, 2**64 - 1])
FLOAT = st.floats(width=32)
BATCH_SIZE = st.integers(1, 6)


@st.composite
def good_columns(draw: st.DrawFn) -> Columns:
    """All that a file may have, for a few samples."""
    count = draw(st.integers(1, 5))
    tags = draw(st.lists(st.lists(ID, max_size=3), min_size=count, max_size=count))
    return {
        "user": draw(arrays(U64, count, elements=ID)),
        "pair": draw(arrays(U64, (count, 2), elements=ID)),
        "tags": np.array(list(itertools.chain(*tags)), U64),
        "tags.offsets": np.array([0, *itertools.accumulate(map(len, tags))], draw(st.sampled_from(["i4", "i8", "u1", "u8"]))),
        "price": draw(arrays(np.float32, (count, 1), elements=FLOAT)),
    }


@st.composite
def changed_columns(draw: st.DrawFn) -> Columns:
    """Good ones with a mistake or two, which may turn out to be none."""
    columns = draw(good_columns())
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(columns)))
        array = columns[name]
        how = draw(st.sampled_from(["cell", "cut", "type", "name", "other"]))
        if how == "cell" and array.size:
            array = array.copy()
            array.flat[draw(st.integers(0, array.size - 1))] = draw(st.integers(0, 9))
        elif how == "cut":
            array = array[: draw(st.integers(0, 4))] if array.ndim else array
        elif how == "type":
            with np.errstate(all="ignore"):
                array = array.astype(draw(st.sampled_from(["i8", "f4", "u8", "U4"])))
        elif how == "name":
            del columns[name]
            name = draw(st.sampled_from(["user", "user.offsets", "tags.offsets", "price.offsets", ".offsets", "else"]))
        elif how == "other":
            array = draw(arrays(draw(st.sampled_from(["u8", "i8", "f4"])), array_shapes(min_dims=0, min_side=0, max_side=4)))
        columns[name] = array
    return columns


def assert_arrived(columns: Columns, batches: Iterable[bytes]) -> None:
    """Each of the columns, with all that is in it."""
    sent = [Reference.read(batch) for batch in batches]
    samples: dict[str, list[list[int]]] = {}
    dense: dict[str, list[np.ndarray]] = {}
    for batch in sent:
        for feature in batch.features or []:
            samples.setdefault(feature.name, []).extend(feature.samples())
        for name, array in batch.dense:
            dense.setdefault(str(name), []).append(array)
    for name, array in columns.items():
        if name.endswith(".offsets"):
            lengths = [len(sample) for sample in samples[name.removesuffix(".offsets")]]
            assert [0, *itertools.accumulate(lengths)] == array.tolist()
        elif name in samples:
            assert list(itertools.chain(*samples[name])) == ids_of("", array.reshape(-1)).tolist()
            if f"{name}.offsets" not in columns:
                assert len(samples[name]) == len(array)
        else:
            joined = np.concatenate(dense[name])
            assert joined.dtype == array.dtype
            np.testing.assert_array_equal(joined, array)
    counts = {len(part) for part in samples.values()} | {sum(map(len, parts)) for parts in dense.values()}
    assert len(counts) == 1


def test_offsets_may_be_whole_numbers_of_floats() -> None:
    offsets = np.concatenate([[0], np.cumsum(np.array([4, 6], np.uint64))])
    assert offsets.dtype == np.float64
    columns = {"a": np.arange(10, dtype=np.uint64), "a.offsets": offsets}
    whole = {**columns, "a.offsets": offsets.astype(np.int64)}
    assert list(batches_of_columns(columns, 8)) == list(batches_of_columns(whole, 8))
    for wrong in (np.array([0, np.inf]), np.array([0, np.nan]), np.array([0.0, 1e300])):
        with pytest.raises(InvalidInput, match=r"'a\.offsets'"):
            list(batches_of_columns({**columns, "a.offsets": wrong}, 8))


@given(good_columns(), BATCH_SIZE)
def test_good_columns_arrive(columns: Columns, batch_size: int) -> None:
    assert_arrived(columns, batches_of_columns(columns, batch_size))


def test_other_integers_are_ids_beside_offsets_or_by_name_and_strings_always(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(
        path,
        city=np.array(["ü", "a"]),
        tags=np.array([5, -1, 7]),
        **{"tags.offsets": np.array([0, 2, 3])},  # type: ignore[arg-type]
        user=np.array([-2, 3], np.int32),
        age=np.array([[1], [2]]),
    )
    (batch,) = read_inputs(path, 4, Reading(features=["user"])).batches
    read = Reference.read(batch)
    assert {feature.name: feature.samples() for feature in read.features or []} == {
        "city": [[hash_string("ü")], [hash_string("a")]],
        "tags": [[5, 2**64 - 1], [7]],
        "user": [[2**64 - 2], [3]],
    }
    assert [name for name, _ in read.dense] == ["age"]
    (batch,) = batches_of_file(path, 4)
    assert [name for name, _ in Reference.read(batch).dense] == ["user", "age"]


@given(changed_columns(), BATCH_SIZE)
def test_other_columns_arrive_or_are_refused(columns: Columns, batch_size: int) -> None:
    try:
        batches = list(batches_of_columns(columns, batch_size))
    except InvalidInput:
        return
    assert_arrived(columns, batches)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For all examples of a property, which overwrite each other's files."""
    return tmp_path_factory.mktemp("inputs")


@given(st.data(), BATCH_SIZE)
def test_tables_arrive_or_have_an_empty_cell(folder: Path, data: st.DataObject, batch_size: int) -> None:
    count = data.draw(st.integers(1, 4))

    def column(cell: st.SearchStrategy[Any]) -> list[Any]:
        return data.draw(st.lists(cell, min_size=count, max_size=count))

    maybe_id = ID | st.none() if data.draw(st.booleans()) else ID
    table = {
        "user": column(ID),
        "tags": column(st.lists(maybe_id, max_size=3)),
        "price": column(FLOAT),
        "vector": column(st.lists(FLOAT, min_size=2, max_size=2)),
    }
    kinds = [pa.uint64(), pa.list_(pa.uint64()), pa.float32(), pa.list_(pa.float32())]
    path = folder / "in.parquet"
    pq.write_table(pa.table(table, pa.schema(zip(table, kinds, strict=True))), path)
    tags: list[Any] = list(itertools.chain(*table["tags"]))
    if None in tags:
        with pytest.raises(InvalidInput, match=rf"{path}: 'tags': expected no empty cells, got {tags.count(None)}, the first"):
            list(batches_of_file(path, batch_size))
        return
    columns = {
        "user": np.array(table["user"], U64),
        "tags": np.array(tags, U64),
        "tags.offsets": np.array([0, *itertools.accumulate(map(len, table["tags"]))]),
        "vector": np.array(table["vector"], np.float32),
        "dense": np.array(table["price"], np.float32).reshape(count, 1),
    }
    assert_arrived(columns, batches_of_file(path, batch_size))


TEN = np.arange(10, dtype=U64)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": TEN, "a.offsets": np.array([0, 2, 4])}, "expected 'a.offsets' from 0 to 10, the number of ids, got 0 to 4"),
        ({"a": TEN, "a.offsets": np.array([2, 4, 10])}, "expected 'a.offsets' from 0 to 10, the number of ids, got 2 to 10"),
        ({"a": TEN, "a.offsets": np.array([0, 5, 40])}, "expected 'a.offsets' from 0 to 10, the number of ids, got 0 to 40"),
        ({"a": TEN, "a.offsets": np.array([0, 7, 4, 10])}, "expected 'a.offsets' not to descend, got 7 and 4 at place 1"),
        ({"a": TEN, "a.offsets": np.array([0, 7, 4, 10], U64)}, "expected 'a.offsets' not to descend, got 7 and 4 at place 1"),
        ({"a": TEN, "a.offsets": np.array([[0, 5], [5, 10]])}, r"integers \(samples \+ 1\) as 'a.offsets', got int64 of shape"),
        ({"a": TEN, "a.offsets": np.array([], np.int64)}, r"expected integers .* as 'a.offsets', got int64 of shape \(0,\)"),
        ({"a": TEN, "a.offsets": np.array([0, 4.5, 10])}, "expected integers .* as 'a.offsets', got float64"),
        (
            {"a": TEN, "b.offsets": np.array([0, 10])},
            "expected an array of ids 'b' for 'b.offsets' to divide, got a uint64",
        ),
        ({"a": TEN, "a.offsets": np.array(3)}, "expected an array of at least 1 dimension as 'a.offsets'"),
        ({"a": np.array(3, U64)}, "expected an array of at least 1 dimension as 'a', got a single value"),
        ({"a": TEN, "price": np.array([b"dear"] * 10)}, "'price': expected bool, uint8, .* got [|]S4"),
    ],
)
def test_arrays_that_would_lose_something_are_refused_with_file_and_name(
    tmp_path: Path, columns: Columns, message: str
) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, **columns)
    with pytest.raises(InvalidInput, match=f"^{path}: .*{message}"):
        list(batches_of_file(path, 4))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": pa.array([[1], [2, None]])}, "'a': expected no empty cells, got 1, the first in sample 1"),
        ({"a": pa.array([[0.5, None], [1, 2]])}, "'a': expected no empty cells, got 1, the first in sample 0"),
        (
            {"a": pa.array([[0.5, None], [1, 2]], pa.list_(pa.float64(), 2))},
            "'a': expected no empty cells, got 1, the first in sample 0",
        ),
        ({"a": pa.array([[1], None])}, "'a': expected no empty cells, got 1, the first in sample 1"),
        ({"a": pa.array([True, False])}, "'a': expected integers, strings or floats, got bool: name it as dense"),
        ({"a": pa.array([0.5, -1e300])}, "'a': expected numbers that float32 can hold, got 1e[+]300"),
        ({"dense": pa.array([1, 2]), "a": pa.array([0.5, 1])}, "expected nothing else to be named 'dense'"),
        ({"dense": pa.array([[0.5], [1]]), "a": pa.array([0.5, 1])}, "expected nothing else to be named 'dense'"),
        (
            {"a": pa.array([[1], [2]]), "a.offsets": pa.array([0, 1])},
            "expected no column .* in '.offsets', .* 'a.offsets'",
        ),
        ({"a": pa.array([], pa.list_(pa.float32())), "user": pa.array([], pa.int64())}, "expected at least one sample"),
    ],
)
def test_tables_that_would_lose_something_are_refused_with_file_and_name(
    tmp_path: Path, columns: dict[str, pa.Array], message: str
) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"user": pa.array([1, 2]), **columns}), path)
    with pytest.raises(InvalidInput, match=f"^{path}: {message}"):
        list(batches_of_file(path, 4))


def test_numbers_that_are_infinite_already_or_none_stay_so(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"user": [1, 2, 3], "a": [float("inf"), float("nan"), 0.1]}), path)
    (batch,) = batches_of_file(path, 4)
    np.testing.assert_array_equal(Reference.read(batch).dense[0][1], np.array([[np.inf], [np.nan], [0.1]], np.float32))
