"""The files that `infer` writes for models of several outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from persia.client.outputs import joined, write_scores
from persia.errors import InvalidInput


def test_several_outputs_have_a_group_of_columns_each(tmp_path: Path) -> None:
    outputs = {"ctr": np.array([0.5, 0.25], np.float32), "cvr": np.array([[1, 2], [3, 4]], np.float32)}
    write_scores(tmp_path / "out.csv", outputs, {"k": ["a", "b"]})
    assert (tmp_path / "out.csv").read_text() == "k,ctr,cvr_0,cvr_1\na,0.5,1,2\nb,0.25,3,4\n"
    write_scores(tmp_path / "out.csv", outputs, {})
    assert (tmp_path / "out.csv").read_text() == "ctr,cvr_0,cvr_1\n0.5,1,2\n0.25,3,4\n"
    write_scores(tmp_path / "out.jsonl", outputs, {"k": ["a", "b"]})
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == [{"k": "a", "ctr": 0.5, "cvr": [1, 2]}, {"k": "b", "ctr": 0.25, "cvr": [3, 4]}]
    write_scores(tmp_path / "out.parquet", outputs, {"k": ["a", "b"]})
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == {"k": ["a", "b"], "ctr": [0.5, 0.25], "cvr": [[1, 2], [3, 4]]}


TWO, ONE = np.zeros(2), np.zeros(1)


@pytest.mark.parametrize(
    ("name", "outputs", "keys", "problem"),
    [
        ("x.npy", {"a": TWO, "b": TWO}, {}, r"\.csv, \.jsonl or \.parquet for the 2 outputs 'a', 'b' .* as a \.npy holds one"),
        ("x.csv", {"a": TWO, "b": ONE}, {}, "as many samples in all outputs, got {'a': 2, 'b': 1}"),
        ("x.csv", {"a": TWO}, {"a": [1, 2]}, "a key of another name than the scores have, got 'a' beside 'a'"),
        ("x.csv", {"a": np.zeros((2, 2)), "a_1": TWO}, {}, "columns of different names, got 'a_1' twice"),
    ],
)
def test_outputs_that_a_file_cannot_hold(
    tmp_path: Path, name: str, outputs: dict[str, Any], keys: dict[str, list[Any]], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        write_scores(tmp_path / name, outputs, keys)
    assert not (tmp_path / name).exists()


def test_outputs_of_several_answers() -> None:
    whole = joined([{"a": ONE, "b": TWO}, {"b": TWO, "a": ONE}])
    assert {name: scores.shape for name, scores in whole.items()} == {"a": (2,), "b": (4,)}
    with pytest.raises(InvalidInput, match="the same outputs in all answers, got a, b and a"):
        joined([{"a": ONE, "b": TWO}, {"a": ONE}])
