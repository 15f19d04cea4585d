"""Distributed checkpoints: TorchRec's own, written by two processes, and what can be missing of them."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia.errors import CorruptFile, InvalidInput, PersiaError
from persia.importers.formats import open_source
from tests.support.imported import TORCHREC, all_rows, import_into

TABLE = "sparse_arch.embedding_bag_collection.embedding_bags.{}.weight"
TABLES = {"user": TABLE.format("t_user"), "item": TABLE.format("t_item"), "tag": TABLE.format("t_tag")}


def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TORCHREC / "dcp", tmp_path / "dcp"))


@pytest.mark.parametrize("name", TABLES.values())
def test_chunks_of_rows_and_of_columns_are_the_table_of_one_process(name: str) -> None:
    (ids, rows), (plain_ids, plain) = (
        all_rows(open_source(format, TORCHREC / path).table(name))
        for format, path in [("torch-dcp", "dcp"), ("torch", "state.pt")]
    )
    assert (ids == plain_ids).all() and rows.tobytes() == plain.tobytes()


def test_a_checkpoint_of_many_processes_has_the_digests_of_one(tmp_path: Path) -> None:
    sharded = import_into(tmp_path / "a", "torch-dcp", TORCHREC / "dcp", TABLES, shards=3)
    plain = import_into(tmp_path / "b", "torch", TORCHREC / "state.pt", TABLES)
    assert [table.digest for table in sharded.tables] == [table.digest for table in plain.tables]
    assert [table.rows for table in sharded.tables] == [61, 40, 23]


def test_without_its_metadata_it_is_not_complete(tmp_path: Path) -> None:
    (copy(tmp_path) / ".metadata").unlink()
    with pytest.raises(InvalidInput, match=r"with a file .metadata, which is written last"):
        open_source("torch-dcp", tmp_path / "dcp")


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    (copy(tmp_path) / "__1_0.distcp").unlink()
    with pytest.raises(CorruptFile, match=r"expected the file __1_0.distcp of `.*` in .*, got no such file"):
        open_source("torch-dcp", tmp_path / "dcp")


def test_files_that_were_swapped(tmp_path: Path) -> None:
    path = copy(tmp_path)
    one, other = ((path / f"__{i}_0.distcp").read_bytes() for i in range(2))
    (path / "__0_0.distcp").write_bytes(other)
    (path / "__1_0.distcp").write_bytes(one)
    with pytest.raises(CorruptFile, match=r"distcp at byte \d+: expected"):
        import_into(tmp_path / "out", "torch-dcp", path, TABLES)
    assert not (tmp_path / "out" / "embedding_dump_done").exists()


@pytest.mark.parametrize("file", ["__0_0.distcp", "__1_0.distcp", ".metadata"])
def test_a_file_that_is_cut_is_refused_with_the_byte(file: str, tmp_path: Path) -> None:
    path = copy(tmp_path)
    whole = (path / file).read_bytes()
    for length in range(0, len(whole), 211):
        (path / file).write_bytes(whole[:length])
        with pytest.raises(CorruptFile, match=rf"{file} at byte \d+: expected"):
            for table in open_source("torch-dcp", path).tables.values():
                all_rows(table)


@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata"])
def test_a_flipped_bit_is_found_or_changes_no_number(file: str, tmp_path: Path) -> None:
    path = copy(tmp_path)
    right = {name: all_rows(table)[1].tobytes() for name, table in open_source("torch-dcp", path).tables.items()}
    whole = (path / file).read_bytes()
    refused = 0
    for place in range(0, len(whole), 197 if file.startswith("_") else 37):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        (path / file).write_bytes(data)
        try:
            tables = open_source("torch-dcp", path).tables
            found = {name: all_rows(table)[1].tobytes() for name, table in tables.items() if name in right}
        except PersiaError as error:
            assert isinstance(error, (CorruptFile, InvalidInput)), error
            refused += 1
            continue
        assert {name: right[name] for name in found} == found, place
    assert refused > 10


@pytest.mark.parametrize(("rows", "place"), [(30, "row 60, column 0"), (31, "row 30, column 0")])
def test_a_hole_between_chunks(rows: int, place: str, tmp_path: Path) -> None:
    """One of the two chunks of a table says that it has a row less."""
    path = copy(tmp_path)
    change_metadata(path, shape(rows), shape(rows - 1))
    with pytest.raises(CorruptFile, match=rf"{TABLES['user']}` that follow each other, got none from {place}"):
        open_source("torch-dcp", path)


def test_a_chunk_that_is_another_tensor(tmp_path: Path) -> None:
    path = copy(tmp_path)
    change_metadata(path, shape(23), shape(22))
    with pytest.raises(CorruptFile, match=rf"expected \(22, 8\) of float32, for `{TABLES['tag']}`, got \(23, 8\) of float32"):
        all_rows(open_source("torch-dcp", path).table(TABLES["tag"]))


def shape(rows: int) -> bytes:
    """As a pickle has it: two small numbers and a tuple of them."""
    return bytes([*b"K", rows, *b"K\x08\x86"])


def change_metadata(path: Path, before: bytes, after: bytes) -> None:
    data = (path / ".metadata").read_bytes()
    assert before in data
    (path / ".metadata").write_bytes(data.replace(before, after))


def test_a_pickle_of_something_else(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(pickle.dumps([np.int64(1)]))
    with pytest.raises(CorruptFile, match=r"the Metadata of torch.distributed.checkpoint"):
        open_source("torch-dcp", tmp_path)


def test_a_path_that_leads_out_of_the_directory(tmp_path: Path) -> None:
    path = copy(tmp_path)
    data: Any = (path / ".metadata").read_bytes()
    (path / ".metadata").write_bytes(data.replace(b"__1_0.distcp", b"../__1_0.dis"))
    with pytest.raises(CorruptFile, match=r"no such file"):
        open_source("torch-dcp", path)
