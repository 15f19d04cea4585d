"""Dumps of HugeCTR, SparseOperationKit, dynamicemb and TFRA, written by the layouts of docs/formats/other-systems.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia.errors import CorruptFile, InvalidInput, NotFound, PersiaError
from persia.importers.formats import open_source
from tests.support.imported import all_rows, config_of, expected_rows, import_into
from tests.support.raw_dumps import KEYS, ROWS, write_collection, write_dynamicemb, write_hps, write_sok, write_tfra
from tests.support.written import read_checkpoint

WRITERS: dict[str, Callable[[Path], Path]] = {
    "hugectr": lambda path: write_hps(path / "t").parent,
    "collection": lambda path: write_collection(path / "c", {4: (KEYS, ROWS)}),
    "sok": lambda path: write_sok(path / "s", {"t": (KEYS, ROWS)}),
    "dynamicemb": lambda path: write_dynamicemb(path / "d", "t"),
    "tfra": lambda path: write_tfra(path / "f", "t"),
}
FORMATS = {"collection": "hugectr", "sok": "hugectr"}
TABLES = {"collection": "table_4"}


def format_of(layout: str) -> str:
    return FORMATS.get(layout, layout)


@pytest.mark.parametrize("layout", WRITERS)
def test_all_keys_and_rows_are_imported(layout: str, tmp_path: Path) -> None:
    source = WRITERS[layout](tmp_path / "source")
    name = TABLES.get(layout, "t")
    report = import_into(tmp_path / "out", format_of(layout), source, {"user": name})
    expected = expected_rows(config_of({"user": 3}), {"user": (KEYS.view(np.uint64), ROWS)})
    assert read_checkpoint(tmp_path / "out") == expected
    assert (report.tables[0].rows, report.tables[0].ids, report.tables[0].folded) == (5, "keys", 2)


@pytest.mark.parametrize("layout", WRITERS)
def test_a_file_that_is_cut_or_grows_is_refused_with_the_byte(layout: str, tmp_path: Path) -> None:
    source = WRITERS[layout](tmp_path / "source")
    name = TABLES.get(layout, "t")
    dim = open_source(format_of(layout), source).table(name).dim
    for file in (path for path in source.rglob("*") if path.is_file() and "scores" not in path.name):
        whole = file.read_bytes()
        spoiled = [whole[:length] for length in range(0, len(whole), 1 if len(whole) < 200 else 37)]
        for data in [*spoiled, whole + b"\0", whole + bytes(64)]:
            file.write_bytes(data)
            # Whole rows that are missing make another dim, which is refused because it is not that of the slot.
            try:
                found = open_source(format_of(layout), source).table(name)
            except CorruptFile as error:
                assert str(source) in error.file and f"{error}".startswith(error.file)
                continue
            assert found.dim != dim, (file, len(data))
        file.write_bytes(whole)


@pytest.mark.parametrize("layout", WRITERS)
def test_a_file_that_is_missing_is_half_a_source(layout: str, tmp_path: Path) -> None:
    source = WRITERS[layout](tmp_path / "source")
    for file in (path for path in source.rglob("*") if path.is_file() and path.name != "meta" and "scores" not in path.name):
        whole = file.read_bytes()
        file.unlink()
        with pytest.raises((CorruptFile, InvalidInput)):
            open_source(format_of(layout), source)
        file.write_bytes(whole)


def test_tables_of_hps_lie_in_directories(tmp_path: Path) -> None:
    write_hps(tmp_path / "wide_sparse_10.model")
    write_hps(tmp_path / "deep_sparse_10.model", rows=ROWS[:, :1], meta=False)
    tables = open_source("hugectr", tmp_path).tables
    assert {name: table.dim for name, table in tables.items()} == {"wide_sparse_10.model": 3, "deep_sparse_10.model": 1}


NUMBERS = np.random.default_rng(1)
WIDE = {
    "hashes": NUMBERS.integers(-(2**63), 2**63, 40),
    "row numbers": np.arange(40),
    "slots in the upper bits": (np.arange(40) % 3 + 1 << 48) + np.arange(40),
    "negative": -np.arange(1, 41),
}
WITH_KEYS: dict[str, Callable[[Path, Any], Path]] = {
    "hugectr": lambda path, keys: write_hps(path / "t", keys, np.ones((len(keys), 3))),
    "dynamicemb": lambda path, keys: write_dynamicemb(path, "t", 1, keys, np.ones((len(keys), 3), np.float32)),
    "tfra": lambda path, keys: write_tfra(path, "t", 1, 1, keys, np.ones((len(keys), 3), np.float32)),
}


@pytest.mark.parametrize("layout", WITH_KEYS)
def test_keys_of_32_bits_are_not_taken_for_half_as_many_of_64(layout: str, tmp_path: Path) -> None:
    """Two keys would be one, and two rows one of twice the dim, which `--propose` would write down."""
    narrow = NUMBERS.choice(2**31, 80, replace=False).astype(np.int32).view(np.int64)
    with pytest.raises(InvalidInput, match="are numbers of 32 bits, and have to be of 64: write them as int64, or import"):
        open_source(layout, WITH_KEYS[layout](tmp_path / "narrow", narrow))
    for name, keys in WIDE.items():
        open_source(layout, WITH_KEYS[layout](tmp_path / name, keys))


def test_a_key_twice_is_refused_by_its_number(tmp_path: Path) -> None:
    write_hps(tmp_path / "t", keys=[1, 2, 3, 2, 4])
    with pytest.raises(InvalidInput, match="table `t` has two rows for the key 2"):
        import_into(tmp_path / "out", "hugectr", tmp_path / "t", {"user": "t"})


def test_a_collection_of_two_tables_with_other_types(tmp_path: Path) -> None:
    tables = {
        3: (KEYS.astype(np.uint32), ROWS.astype(np.float16)),
        8: (KEYS[:2].astype(np.uint32), ROWS[:2, :1].astype(np.float16)),
    }
    write_collection(tmp_path / "embedding_collection_0", tables)
    source = open_source("hugectr", tmp_path)
    ids, rows = all_rows(source.table("table_3"))
    assert ids.tolist() == KEYS.astype(np.uint32).tolist() and (rows == ROWS).all()
    assert source.table("table_8").conversion == "float16 to float32, exactly" and source.table("table_8").rows == 2


def test_two_collections_have_names_of_their_own(tmp_path: Path) -> None:
    for i in range(2):
        write_collection(tmp_path / f"embedding_collection_{i}", {0: (KEYS, ROWS)})
    names = [f"embedding_collection_{i}.table_0" for i in range(2)]
    assert list(open_source("hugectr", tmp_path).tables) == names


def test_swapped_files_of_a_collection(tmp_path: Path) -> None:
    path = write_collection(tmp_path / "c", {0: (KEYS, ROWS), 1: (KEYS, ROWS)})
    one, other = (path / "key0").read_bytes(), (path / "key1").read_bytes()
    (path / "key0").write_bytes(other)
    (path / "key1").write_bytes(one)
    with pytest.raises(CorruptFile, match=r"key0 at byte 0: expected a head of 128 bytes with the kind 1 and the table 0"):
        open_source("hugectr", path)


def test_names_and_types_of_sok(tmp_path: Path) -> None:
    tables: dict[str, Any] = {
        "emb/user:0": (KEYS, ROWS.astype(np.float16)),
        "b": (KEYS.astype(np.int32), ROWS.astype(np.float64)),
    }
    source = open_source("hugectr", write_sok(tmp_path / "s", tables))
    assert all_rows(source.table("emb/user:0"))[0].tolist() == KEYS.view(np.uint64).tolist()
    assert (all_rows(source.table("b"))[1] == ROWS).all()
    # Keys of fewer bits keep their sign.
    assert all_rows(source.table("b"))[0].tolist() == [11, 2**64 - 5, 1, 0, 7]


def test_swapped_files_of_sok(tmp_path: Path) -> None:
    path = write_sok(tmp_path / "s", {"a": (KEYS, ROWS), "b": (KEYS, ROWS)})
    (path / "a-key").write_bytes((path / "b-key").read_bytes())
    with pytest.raises(CorruptFile, match=r"a-key at byte 0: expected a head of `a` with the kind 0 and the type 1, got `b`"):
        open_source("hugectr", path)


def test_a_flipped_bit_of_a_head_is_refused(tmp_path: Path) -> None:
    for layout in ("collection", "sok"):
        source = WRITERS[layout](tmp_path / layout)
        right = open_source("hugectr", source).table(TABLES.get(layout, "t"))
        for file in (path for path in source.iterdir()):
            whole = file.read_bytes()
            for place in range(0, min(len(whole), 296), 3):
                data = bytearray(whole)
                data[place] ^= 1 << place % 8
                file.write_bytes(data)
                try:
                    found = open_source("hugectr", source)
                except PersiaError as error:
                    assert isinstance(error, CorruptFile)
                    continue
                assert [(t.rows, t.dim) for t in found.tables.values()] == [(right.rows, right.dim)], (file, place)
            file.write_bytes(whole)


def test_modules_of_dynamicemb_are_part_of_the_name(tmp_path: Path) -> None:
    write_dynamicemb(tmp_path / "model.sparse", "user", ranks=3)
    table = open_source("dynamicemb", tmp_path).table("model.sparse.user")
    assert sorted(all_rows(table)[0].tolist()) == sorted(KEYS.view(np.uint64).tolist())


def test_shards_of_tfra_and_its_optimizers(tmp_path: Path) -> None:
    write_tfra(tmp_path, "embedding-parameter", parts=2, ranks=2)
    write_tfra(tmp_path, "embedding-parameter_DynamicEmbedding_SHADOW_m", parts=2, ranks=2)
    source = open_source("tfra", tmp_path)
    assert list(source.tables) == ["embedding-parameter"] and source.tables["embedding-parameter"].rows == 5
    with pytest.raises(NotFound, match="it is the state of an optimizer"):
        source.table("embedding-parameter_DynamicEmbedding_SHADOW_m")


def test_a_shard_of_tfra_of_another_number(tmp_path: Path) -> None:
    write_tfra(tmp_path, "t", parts=2)
    write_tfra(tmp_path, "t", parts=3)
    with pytest.raises(CorruptFile, match="expected one of 2 files of `t`, got one of 3 files"):
        open_source("tfra", tmp_path)
