"""TensorFlow's checkpoints, read without TensorFlow; tests/support/dumps/tensorflow_dumps.py wrote them with it and TFRA."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia._core import crc32c
from persia.errors import CorruptFile, InvalidInput, NotFound, PersiaError
from persia.importers.formats import open_source
from persia.importers.sorted_tables import unmasked
from tests.support.golden import arrays_of
from tests.support.imported import DUMPS, all_rows, import_into

TENSORFLOW = DUMPS / "tensorflow"
RECORDED = arrays_of(TENSORFLOW / "tables.npz")
KERAS = "model/layer_with_weights-0/embeddings/.ATTRIBUTES/VARIABLE_VALUE"


def by_key(ids: Any, rows: Any) -> dict[int, bytes]:
    return {int(key): row.tobytes() for key, row in zip(ids, rows, strict=True)}


@pytest.mark.parametrize(
    ("path", "name", "recorded"),
    [
        ("keras", KERAS, "keras"),
        ("keras/model.ckpt.index", KERAS, "keras"),
        ("partitioned", "user/embedding_weights", "partitioned"),
    ],
)
def test_variables_have_the_rows_that_tensorflow_saved(path: str, name: str, recorded: str) -> None:
    table = open_source("tensorflow", TENSORFLOW / path).table(name)
    ids, rows = all_rows(table)
    assert table.ids == "rows" and ids.tolist() == list(range(len(RECORDED[recorded])))
    assert rows.tobytes() == RECORDED[recorded].tobytes()


@pytest.mark.parametrize(
    ("format", "path", "name", "recorded"),
    [
        ("tensorflow", "deeprec", "user_ev", "deeprec"),
        ("tensorflow", "tfra_bundle", "table/tables_of_in_a_bundle", "tfra"),
        ("tfra", "tfra_files", "in_files", "tfra"),
    ],
)
def test_hash_tables_have_the_keys_and_rows_of_all_parts(format: str, path: str, name: str, recorded: str) -> None:
    table = open_source(format, TENSORFLOW / path).table(name)
    assert table.ids == "keys" and table.rows == len(RECORDED["keys"])
    assert by_key(*all_rows(table)) == by_key(RECORDED["keys"].view(np.uint64), RECORDED[recorded])


@pytest.mark.parametrize(
    ("path", "name", "reason"),
    [
        ("keras", "optimizer/_variables/1/.ATTRIBUTES/VARIABLE_VALUE", "the state of an optimizer"),
        ("keras", "_CHECKPOINTABLE_OBJECT_GRAPH", r"it is \(\) of TensorFlow's type 7"),
        ("deeprec", "user_ev/part_0/Adagrad-keys", "the state of an optimizer"),
        ("deeprec", "user_ev/part_0-keys_filtered", r"it is \(1,\) of int64"),
    ],
)
def test_what_is_no_table_says_why(path: str, name: str, reason: str) -> None:
    with pytest.raises(NotFound, match=reason):
        open_source("tensorflow", TENSORFLOW / path).table(name)


def test_moments_of_an_optimizer_are_not_proposed() -> None:
    """They have the shape of the table."""
    tables = open_source("tensorflow", TENSORFLOW / "keras").tables
    assert [name for name, table in tables.items() if table.guess] == [KERAS]


def test_a_checkpoint_without_its_data(tmp_path: Path) -> None:
    path = Path(shutil.copytree(TENSORFLOW / "deeprec", tmp_path / "m"))
    (path / "model.ckpt-7.data-00000-of-00001").unlink()
    with pytest.raises(CorruptFile, match=r"index at byte 0: expected a file model.ckpt-7.data-0+-of-00001 beside it"):
        open_source("tensorflow", path)


def test_two_checkpoints_in_a_directory(tmp_path: Path) -> None:
    for name in ("keras", "deeprec"):
        shutil.copytree(TENSORFLOW / name, tmp_path / "m", dirs_exist_ok=True)
    with pytest.raises(InvalidInput, match=r"got model.ckpt-7.index, model.ckpt.index: name the one that is meant"):
        open_source("tensorflow", tmp_path / "m")
    assert open_source("tensorflow", tmp_path / "m" / "model.ckpt-7.index").tables.keys() == {"user_ev"}


def test_a_file_that_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(InvalidInput, match="expected the index of a TensorFlow checkpoint"):
        open_source("tensorflow", tmp_path / "model.ckpt")


def all_tables(source: Path) -> dict[str, dict[int, bytes]]:
    return {name: by_key(*all_rows(table)) for name, table in open_source("tensorflow", source).tables.items()}


@pytest.mark.parametrize("path", ["keras", "partitioned", "deeprec", "tfra_bundle"])
def test_a_file_that_is_cut_is_refused_with_the_byte(path: str, tmp_path: Path) -> None:
    source = Path(shutil.copytree(TENSORFLOW / path, tmp_path / "m"))
    for file in sorted(source.iterdir()):
        whole = file.read_bytes()
        for length in range(0, len(whole), 41):
            file.write_bytes(whole[:length])
            with pytest.raises(CorruptFile, match=r"/m/model.ckpt.* at byte \d+: expected"):
                all_tables(source)
        file.write_bytes(whole)


@pytest.mark.parametrize("path", ["keras", "partitioned", "deeprec", "tfra_bundle"])
def test_a_flipped_bit_is_refused_or_is_in_no_table(path: str, tmp_path: Path) -> None:
    """There are checksums of each tensor and of each block of the index, but none of the padding in the footer."""
    source = Path(shutil.copytree(TENSORFLOW / path, tmp_path / "m"))
    right = all_tables(source)
    refused = 0
    for file in sorted(source.iterdir()):
        whole = file.read_bytes()
        for i in range(0, len(whole), 23):
            file.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
            try:
                assert all_tables(source) == right, (file, i)
            except PersiaError as error:
                assert isinstance(error, CorruptFile) and str(source) in error.file
                refused += 1
        file.write_bytes(whole)
    assert refused > 10


def test_a_part_that_is_missing(tmp_path: Path) -> None:
    """Part 0 is called part 2 in the index, whose block gets a checksum that fits."""
    source = Path(shutil.copytree(TENSORFLOW / "deeprec", tmp_path / "m"))
    data = bytearray((source / "model.ckpt-7.index").read_bytes())
    (end,) = [i for i in range(9, len(data) - 5) if crc32c(data[:i]) == unmasked(int.from_bytes(data[i : i + 4], "little"))]
    data[:end] = data[:end].replace(b"part_0", b"part_2")
    rotated = crc32c(data[:end]) >> 15 | crc32c(data[:end]) << 17
    data[end : end + 4] = ((rotated + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")
    (source / "model.ckpt-7.index").write_bytes(data)
    with pytest.raises(CorruptFile, match=r"expected 3 parts of `user_ev`, got those of the numbers \[1, 2\]"):
        open_source("tensorflow", source)


def test_an_import_of_hash_tables(tmp_path: Path) -> None:
    report = import_into(tmp_path / "out", "tensorflow", TENSORFLOW / "deeprec", {"user": "user_ev"})
    assert (report.tables[0].rows, report.tables[0].folded) == (8, 2)
