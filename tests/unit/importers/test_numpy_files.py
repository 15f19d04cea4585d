"""numpy's files as a source: what is read, and each way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia.errors import CorruptFile, InvalidInput
from persia.importers.formats import open_source
from tests.support.imported import all_rows

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(directory: Path, rows: Any = ROWS, ids: Any = None) -> Path:
    np.save(directory / "rows.npy", rows)
    if ids is not None:
        np.save(directory / "ids.npy", ids)
    return directory


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_by_number(dtype: Any, tmp_path: Path) -> None:
    table = open_source("numpy", write(tmp_path, ROWS.astype(dtype))).table(tmp_path.name)
    ids, rows = all_rows(table)
    assert (table.rows, table.dim, table.ids) == (4, 3, "rows")
    assert ids.tolist() == [0, 1, 2, 3] and rows.dtype == np.float32 and (rows == ROWS).all()


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16, np.uint64])
def test_keys_of_any_integers(dtype: Any, tmp_path: Path) -> None:
    ids, _ = all_rows(open_source("numpy", write(tmp_path, ids=np.array([3, 9, 1, 4], dtype))).table(tmp_path.name))
    assert ids.dtype == np.uint64 and ids.tolist() == [3, 9, 1, 4]


def test_a_negative_key_is_the_same_64_bits_without_a_sign(tmp_path: Path) -> None:
    ids, _ = all_rows(open_source("numpy", write(tmp_path, ids=np.array([-1, 2, 3, -4], np.int32))).table(tmp_path.name))
    assert ids.tolist() == [2**64 - 1, 2, 3, 2**64 - 4]


@pytest.mark.parametrize(
    ("rows", "ids", "error", "message"),
    [
        (ROWS[0], None, InvalidInput, r"rows.npy: expected an array \(n, dim\) of floats, got \(3,\) of float32"),
        (ROWS.astype(np.int32), None, InvalidInput, r"of floats, got \(4, 3\) of int32"),
        (ROWS.astype(">f4"), None, InvalidInput, "little-endian, got >f4"),
        (np.asfortranarray(ROWS), None, InvalidInput, "in C's order, little-endian, got <f4 in Fortran's order"),
        (ROWS, np.zeros(4), InvalidInput, r"ids.npy: expected an array \(n\) of integers, got \(4,\) of float64"),
        (ROWS, np.zeros((4, 1), int), InvalidInput, "of integers"),
        (
            ROWS,
            np.zeros(3, int),
            CorruptFile,
            "ids.npy at byte 0: expected an id for each of the 4 rows of rows.npy, got 3 ids",
        ),
    ],
)
def test_arrays_that_are_no_table(rows: Any, ids: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        open_source("numpy", write(tmp_path, rows, ids))


def test_ids_under_another_name_are_not_passed_by(tmp_path: Path) -> None:
    np.save(tmp_path / "keys.npy", np.array([3, 9, 1, 4]))
    with pytest.raises(InvalidInput, match=r"keys.npy has an integer for each row of rows.npy: .* name it ids.npy"):
        open_source("numpy", write(tmp_path))


def test_other_arrays_beside_the_rows_do_not_matter(tmp_path: Path) -> None:
    np.save(tmp_path / "momentum.npy", np.asfortranarray(ROWS))
    np.save(tmp_path / "steps.npy", np.zeros(3, int))
    np.save(tmp_path / "names.npy", np.array(["a", None]), allow_pickle=True)
    assert open_source("numpy", write(tmp_path)).table(tmp_path.name).ids == "rows"


def test_a_directory_without_rows(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected rows.npy in"):
        open_source("numpy", tmp_path)


def test_a_file_that_is_cut_anywhere_is_named_with_the_byte(tmp_path: Path) -> None:
    file = write(tmp_path) / "rows.npy"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(CorruptFile, match=r"rows.npy at byte"):
            open_source("numpy", tmp_path)
    file.write_bytes(whole + b"\0")
    with pytest.raises(CorruptFile, match=r"expected the end of the file"):
        open_source("numpy", tmp_path)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    table = open_source("numpy", write(tmp_path)).table(tmp_path.name)
    (tmp_path / "rows.npy").write_bytes((tmp_path / "rows.npy").read_bytes()[:-5])
    with pytest.raises(CorruptFile, match=r"rows.npy at byte 171: expected 48 bytes from byte 128 on, got the end of the file"):
        all_rows(table)
