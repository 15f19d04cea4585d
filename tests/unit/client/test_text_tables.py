"""`infer` of .csv and .jsonl: what their columns become, mistakes with line and column, and keys beside the scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persia.client.inputs import Reading, read_inputs
from persia.client.outputs import LONE, check_output, write_scores
from persia.errors import InvalidInput
from persia.signs import hash_string
from tests.support.reference import Batch as Reference


def of_text(path: Path, text: str, reading: Reading = Reading()) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:  # noqa: B008
    """Features, dense tensors and keys."""
    path.write_text(text, encoding="utf-8")
    inputs = read_inputs(path, 100, reading)
    (batch,) = inputs.batches
    read = Reference.read(batch)
    features = {feature.name: feature.samples() for feature in read.features or []}
    return features, {str(name): array.tolist() for name, array in read.dense}, dict(inputs.keys)


CSV = """request,user,city,tags,age,price,vector
r1,5,a,1|2,0.5,1,0.5|1
"r,2",-1,"b|""x",,1e1,2,2|3
"""


def test_columns_of_csv(tmp_path: Path) -> None:
    reading = Reading(dense=["price"], keys=["request"], texts=["city"], features=["tags"])
    features, dense, keys = of_text(tmp_path / "in.csv", CSV, reading)
    assert features == {
        "user": [[5], [2**64 - 1]],
        "city": [[hash_string("a")], [hash_string("b"), hash_string('"x')]],
        "tags": [[1, 2], []],
    }
    assert dense == {"vector": [[0.5, 1], [2, 3]], "dense": [[0.5, 1], [10, 2]]}
    assert keys == {"request": ["r1", "r,2"]}


def test_another_separator_and_a_mark_of_byte_order(tmp_path: Path) -> None:
    features, _, _ = of_text(tmp_path / "in.csv", "\ufefftags\n1;2\n3\n", Reading(separator=";"))
    assert features == {"tags": [[1, 2], [3]]}


def test_digits_may_be_strings(tmp_path: Path) -> None:
    assert of_text(tmp_path / "in.csv", "zip\n7\n12\n", Reading(texts=["zip"]))[0] == {
        "zip": [[hash_string("7")], [hash_string("12")]]
    }
    assert of_text(tmp_path / "in.csv", "zip\n007\n012\n")[0] == {"zip": [[hash_string("007")], [hash_string("012")]]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: expected the names of the columns, got nothing"),
        ("a,a\n1,2\n", "line 1: expected each column once, got 'a' twice"),
        ("a,b\n1,2\n\n3\n", "line 4: expected 2 cells, as the header has names, got 1"),
        ("a,b\n1,2\n3,\n", "line 3, column 'b': expected no empty cell, got one: --feature b, if it may be without ids"),
        ("a\n1\n\n", "line 3, column 'a': expected no empty cell"),
        ("a\n12\nx7\n", "line 3, column 'a': expected numbers or strings, got 'x7' here and '12' on line 2: --text a"),
        ("a\n007\n12\n", "line 2, column 'a': expected numbers or strings, got '007' here and '12' on line 3"),
        ('a,b\n"1\n', "line 3: expected a .csv file in UTF-8, got: unexpected end of data"),
        (f"a\n5\n{2**64}\n", "line 3, column 'a': expected integers from -2.63 to 2.64 - 1, got 18446744073709551616"),
        ("a\n0.5\n", "a column of ids at least"),
        ("a\n", "at least one sample, got none|a column of ids at least"),
        ("a,b\n1,0.5|1\n2,3\n", r"'b': expected lists of one length, got \[1, 2\]"),
    ],
)
def test_mistakes_of_csv(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "in.csv"
    with pytest.raises(InvalidInput, match=f"^{path}: .*{problem}"):
        of_text(path, text)


def test_a_csv_that_is_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"a\nx\n\xff\n")
    with pytest.raises(InvalidInput, match=r"expected a \.csv file in UTF-8"):
        list(read_inputs(tmp_path / "in.csv", 4).batches)


NESTED = {"features": {"user": -1, "tags": ["a"]}, "dense": {"age": 1, "v": [1, 2.5]}, "weights": {"tags": [0.5]}, "key": 7}
FLAT = {"user": 5, "tags": [1, 2], "age": 0.5, "key": "r1"}


def test_lines_of_json(tmp_path: Path) -> None:
    lines = "\n".join(map(json.dumps, [FLAT, {**FLAT, "tags": [], "age": 3}])) + "\n\n"
    features, dense, keys = of_text(tmp_path / "in.jsonl", lines, Reading(keys=["key"]))
    assert features == {"user": [[5], [5]], "tags": [[1, 2], []]}
    assert dense == {"dense": [[0.5], [3]]} and keys == {"key": ["r1", "r1"]}


def test_lines_of_json_that_say_what_is_what(tmp_path: Path) -> None:
    features, dense, keys = of_text(tmp_path / "in.jsonl", json.dumps(NESTED), Reading(keys=["key"]))
    assert features == {"user": [[2**64 - 1]], "tags": [[hash_string("a")]]}
    assert dense == {"dense": [[1]], "v": [[1, 2.5]], "tags.weights": [[0.5]]} and keys == {"key": [7]}


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["{"], "line 1: expected a JSON object, got: "),
        (["[1]"], r"line 1: expected a JSON object, got \[1\]"),
        (['{"a": 1, "a": 2}'], "line 1: .*'a' stands twice"),
        (['{"a": NaN}'], "line 1: .*NaN is no number of JSON"),
        (['{"a": 1}', "", '{"b": 1}'], "line 3, column 'a': expected the columns of line 1, got none"),
        (['{"a": 1}', '{"a": 1, "b": 1}'], "line 2, column 'b': expected the columns of line 1, which line 1 has not"),
        (['{"a": 1}', '{"a": null}'], "line 2, column 'a': expected integers, numbers or strings, got null"),
        (['{"a": [1]}', '{"a": 1}'], "line 2, column 'a': expected a list as on line 1, got 1"),
        (['{"a": 1}', '{"a": "x"}'], "line 2, column 'a': expected numbers or strings, got both: the other one on line 1"),
        (['{"a": true}'], "line 1, column 'a': expected integers, numbers or strings, got true"),
        (['{"a": [[1]]}'], r"line 1, column 'a': expected integers, numbers or strings, got \[1\]"),
        (['{"a": 1}', '{"a": 18446744073709551616}'], "line 2, column 'a': expected integers from"),
        (['{"features": {"a": 1}}', '{"a": 1}'], "line 2: expected an object of the form of line 1"),
        (['{"features": {"a": 1}, "dense": 3}'], "line 1, column 'dense': expected an object, got 3"),
        (['{"features": {"a": 1}, "dense": {"a": 3}}'], "line 1, column 'a': the table has this column twice"),
        (['{"features": {"a": 0.5}}'], "'a': expected ids that are integers or strings, got float64"),
        ([""], "at least one sample"),
    ],
)
def test_mistakes_of_json_lines(tmp_path: Path, lines: list[str], problem: str) -> None:
    path = tmp_path / "in.jsonl"
    with pytest.raises(InvalidInput, match=f"^{path}: .*{problem}"):
        of_text(path, "\n".join(lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For all examples of a property, which overwrite each other's files."""
    return tmp_path_factory.mktemp("tables")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), lambda s: st.lists(s, max_size=2)
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "features", "dense"]), JSON, max_size=3), max_size=3))
def test_any_lines_of_json_are_batches_or_refused(folder: Path, lines: list[dict[str, Any]]) -> None:
    try:
        of_text(folder / "in.jsonl", "\n".join(map(json.dumps, lines)))
    except InvalidInput as error:
        assert str(error).startswith(f"{folder / 'in.jsonl'}: ")


@given(st.lists(st.lists(st.sampled_from(["", "1", "-2", "007", "0.5", "x", '"', "1|2", "nan", "é"]), max_size=3), max_size=4))
def test_any_csv_is_batches_or_refused(folder: Path, rows: list[list[str]]) -> None:
    try:
        of_text(folder / "in.csv", "\n".join(map(",".join, rows)))
    except InvalidInput as error:
        assert str(error).startswith(f"{folder / 'in.csv'}: ")


def test_keys_of_npz_and_parquet(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", user=np.array([1, 2], np.uint64), key=np.array(["x", "y"]))
    pq.write_table(pa.table({"user": [1, 2], "key": ["x", "y"]}), tmp_path / "in.parquet")
    for name in ("in.npz", "in.parquet"):
        inputs = read_inputs(tmp_path / name, 4, Reading(keys=["key"]))
        (batch,) = inputs.batches
        assert [feature.name for feature in Reference.read(batch).features or []] == ["user"]
        assert inputs.keys == {"key": ["x", "y"]}
        with pytest.raises(InvalidInput, match=f"{name}: expected an? .*'nobody', got "):
            read_inputs(tmp_path / name, 4, Reading(keys=["nobody"]))


def test_scores_beside_their_keys(tmp_path: Path) -> None:
    keys: dict[str, list[Any]] = {"request": ["r,1", "ü"], "n": [1, 2**64 - 1]}
    scores = np.array([[0.5], [float("nan")]], np.float32)
    write_scores(tmp_path / "out.csv", {LONE: scores}, keys)
    assert (tmp_path / "out.csv").read_text() == 'request,n,score\n"r,1",1,0.5\nü,18446744073709551615,nan\n'
    write_scores(tmp_path / "out.jsonl", {LONE: scores}, keys)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == [{"request": "r,1", "n": 1, "score": 0.5}, {"request": "ü", "n": 2**64 - 1, "score": None}]
    write_scores(tmp_path / "out.parquet", {LONE: scores}, keys)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["request", "n", "score"] and table["n"].to_pylist() == keys["n"]

    several = np.array([[1, 2], [3, 4]], np.float32)
    write_scores(tmp_path / "out.csv", {LONE: several}, {"k": [1, 2]})
    assert (tmp_path / "out.csv").read_text() == "k,score_0,score_1\n1,1,2\n2,3,4\n"
    write_scores(tmp_path / "out.parquet", {LONE: several}, {})
    assert pq.read_table(tmp_path / "out.parquet")["score"].to_pylist() == several.tolist()
    with pytest.raises(InvalidInput, match="a score for each of 3 keys 'k', got 2"):
        write_scores(tmp_path / "out.csv", {LONE: several}, {"k": [1, 2, 3]})


def test_outputs_that_keys_do_not_fit_into(tmp_path: Path) -> None:
    for name, keys in (("x.npy", ["k"]), ("x.csv", ["score"]), ("x.csv", ["score_1"]), ("x.txt", [])):
        with pytest.raises(InvalidInput):
            check_output(tmp_path / name, keys)
    check_output(tmp_path / "x.parquet", ["k"])


NAMED = Reading(tensors={"numbers": ["n2", "n1"], "age": ["age"]})


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_dense_tensors_have_the_names_that_they_are_given(tmp_path: Path, suffix: str) -> None:
    table = {"user": [5, 6], "n1": [1, 2], "n2": [0.5, 1.5], "age": [30, 40], "rest": [7.5, 8.5]}
    path, rows = tmp_path / f"in{suffix}", list(zip(*table.values(), strict=True))
    if suffix == ".parquet":
        pq.write_table(pa.table(table), path)
    elif suffix == ".csv":
        path.write_text("\n".join([",".join(table), *(",".join(map(str, row)) for row in rows)]))
    else:
        path.write_text("\n".join(json.dumps(dict(zip(table, row, strict=True))) for row in rows))
    (batch,) = read_inputs(path, 4, NAMED).batches
    read = Reference.read(batch)
    assert [feature.name for feature in read.features or []] == ["user"]
    assert {str(name): (array.dtype.str, array.tolist()) for name, array in read.dense} == {
        "numbers": ("<f4", [[0.5, 1], [1.5, 2]]),
        "age": ("<f4", [[30], [40]]),
        "dense": ("<f4", [[7.5], [8.5]]),
    }


def test_where_no_column_makes_a_tensor(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", user=np.array([1], np.uint64))
    (tmp_path / "in.jsonl").write_text(json.dumps(NESTED))
    with pytest.raises(InvalidInput, match=r"an array 'numbers' in .*in\.npz, got columns for it: each array"):
        read_inputs(tmp_path / "in.npz", 4, NAMED)
    with pytest.raises(InvalidInput, match="line 1: expected the tensor 'numbers' as a list within \"dense\""):
        read_inputs(tmp_path / "in.jsonl", 4, NAMED)
