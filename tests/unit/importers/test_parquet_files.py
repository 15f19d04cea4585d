"""Files of parquet as a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from persia.errors import CorruptFile, InvalidInput
from persia.importers.formats import open_source
from tests.support.imported import all_rows, import_into

IDS = np.array([7, -1, 3, 2**62])
ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)
LIST = pa.list_(pa.float32())
FIXED = pa.list_(pa.float64(), 2)


def write(path: Path, rows: Any, ids: Any = IDS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = rows if isinstance(rows, dict) else {"vector": rows}
    pq.write_table(pa.table({"id": ids, **columns}), path, row_group_size=3)
    return path


@pytest.mark.parametrize(
    "rows",
    [pa.array(ROWS.tolist(), LIST), pa.array(ROWS.tolist(), FIXED), {"x": ROWS[:, 0], "y": ROWS[:, 1].astype(np.float64)}],
    ids=["lists", "fixed lists", "columns"],
)
def test_vectors_in_each_form(rows: Any, tmp_path: Path) -> None:
    table = open_source("parquet", write(tmp_path / "items.parquet", rows)).table("items")
    ids, found = all_rows(table)
    assert (table.rows, table.dim, table.ids) == (4, 2, "keys")
    assert ids.tolist() == [7, 2**64 - 1, 3, 2**62] and found.dtype == np.float32 and (found == ROWS).all()


def test_columns_with_numbers_in_their_names_stand_in_the_order_of_these(tmp_path: Path) -> None:
    numbers = np.arange(44, dtype=np.float32).reshape(4, 11)
    columns = {f"emb_{i}": numbers[:, i] for i in sorted(range(11), key=str)}  # 0, 1, 10, 2, as names are sorted
    assert (all_rows(open_source("parquet", write(tmp_path / "t.parquet", columns)).table("t"))[1] == numbers).all()
    others = {"b": numbers[:, 0], "a1": numbers[:, 1], "a0": numbers[:, 2]}
    found = all_rows(open_source("parquet", write(tmp_path / "u.parquet", others)).table("u"))[1]
    assert (found == numbers[:, :3]).all()  # as in the file


def test_a_table_of_one_number(tmp_path: Path) -> None:
    table = open_source("parquet", write(tmp_path / "bias.parquet", {"bias": ROWS[:, 0]})).table("bias")
    assert table.dim == 1 and table.conversion == "" and (all_rows(table)[1] == ROWS[:, :1]).all()


def test_a_directory_is_a_table_and_directories_are_tables(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 100)):
        for i in range(2):
            ids = np.arange(4) + first + 4 * i
            write(tmp_path / "out" / name / f"part-{i}.parquet", pa.array(ROWS.tolist(), LIST), ids)
    assert all_rows(open_source("parquet", tmp_path / "out" / "b").table("b"))[0].tolist() == list(range(100, 108))
    report = import_into(tmp_path / "ckpt", "parquet", tmp_path / "out", {"x": "a", "y": "b"})
    assert [table.rows for table in report.tables] == [8, 8]
    (tmp_path / "out" / "a" / "_temporary").mkdir()
    with pytest.raises(CorruptFile, match=r"a table whose writer has finished"):
        open_source("parquet", tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "ids", "message"),
    [
        (pa.array([[1.0], [1.0, 2.0], [1.0], [1.0]], LIST), IDS, "vectors of 1 numbers, got 1 to 2 in rows from 0 on"),
        (pa.array([[1.0], [None], [1.0], [1.0]], LIST), IDS, "got empty cells"),
        (pa.array([[1.0], None, [1.0], [1.0]], LIST), IDS, "no empty cells in the column vector"),
        (pa.array([None, [1.0], [1.0], [1.0]], LIST), IDS, "a vector in the first row of the column vector, got none"),
        (pa.array(ROWS.tolist(), LIST), IDS.astype(float), "one column of integers"),
        (pa.array(["a", "b", "c", "d"]), IDS, "one column of integers, and one column of lists of floats"),
        (pa.array(ROWS.tolist(), LIST), pa.array([1, None, 3, 4]), "no empty cells in the column id"),
    ],
)
def test_what_is_no_table_says_why(rows: Any, ids: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        for table in open_source("parquet", write(tmp_path / "t.parquet", rows, ids)).tables.values():
            all_rows(table)


def test_files_of_other_columns_in_one_directory(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.array(ROWS.tolist(), LIST))
    write(tmp_path / "b.parquet", pa.array(ROWS[:, :1].tolist(), LIST))
    with pytest.raises(InvalidInput, match=r"expected the columns of a.parquet in .*b.parquet"):
        open_source("parquet", tmp_path)


def test_a_file_that_is_cut_or_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.array(ROWS.tolist(), LIST))
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFile, match=r"t.parquet at byte 0: expected"):
            open_source("parquet", path)


def test_a_directory_without_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there are none"):
        open_source("parquet", tmp_path)
