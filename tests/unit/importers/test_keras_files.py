"""Files of Keras, which tests/support/dumps/keras_dumps.py wrote, beside what its layers look up."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from persia.errors import CorruptFile, FeatureError, InvalidInput, NotFound, PersiaError
from persia.importers.formats import open_source
from tests.support.golden import arrays_of
from tests.support.imported import DUMPS, all_rows, import_into

KERAS = DUMPS / "keras"
LOOKED_UP = arrays_of(KERAS / "looked_up.npz")
TABLES = {"user_table": "user_table", "item_table": "item_table", "tags/tag_table": "tag_table"}
OLD = "model_weights/{}/{}/embeddings"
OWN = ("first_table", "x_table", "many_0", "many_1")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5"])
def test_tables_have_the_names_of_layers_and_the_rows_that_these_look_up(file: str, name: str) -> None:
    ids, rows = all_rows(open_source("keras", KERAS / file).table(name))
    np.testing.assert_array_equal(rows, LOOKED_UP[TABLES[name]])
    assert ids.tolist() == list(range(len(rows)))


@pytest.mark.parametrize("name", OWN)
def test_tables_of_a_class_of_its_own(name: str) -> None:
    np.testing.assert_array_equal(all_rows(open_source("keras", KERAS / "own.weights.h5").table(name))[1], LOOKED_UP[name])


def test_the_older_form_has_the_names_of_its_places() -> None:
    source = open_source("keras", KERAS / "model.h5")
    (name,) = (name for name in source.tables if "user_table" in name)
    np.testing.assert_array_equal(all_rows(source.table(name))[1], LOOKED_UP["user_table"])
    assert name.startswith("model_weights/user_table/")


@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5", "model.h5"])
def test_only_tables_are_proposed(file: str) -> None:
    source = open_source("keras", KERAS / file)
    proposed = {name for name, table in source.tables.items() if table.guess}
    assert {name.removesuffix("/embeddings").rpartition("/")[2] for name in proposed} == set(TABLES.values())
    assert {source.others[name] for name in source.others if "adam" in name or "optimizer" in name} == {
        "it is the state of an optimizer"
    }


def test_a_file_is_imported(tmp_path: Path) -> None:
    report = import_into(tmp_path / "out", "keras", KERAS / "model.keras", {"user": "user_table", "tag": "tags/tag_table"})
    assert [table.rows for table in report.tables] == [20, 11]


def test_a_table_of_int8_has_the_rows_that_its_layer_looks_up(tmp_path: Path) -> None:
    source = open_source("keras", KERAS / "quantised.keras")
    ids, rows = all_rows(source.table("tag_table"))
    np.testing.assert_array_equal(rows, arrays_of(KERAS / "quantised.npz")["tag_table"])
    assert ids.tolist() == list(range(11)) and {name for name, table in source.tables.items() if table.guess} == {"tag_table"}
    (table,) = import_into(tmp_path / "out", "keras", KERAS / "quantised.keras", {"tag": "tag_table"}).tables
    assert table.conversion == "int8 to float32, exactly as Keras does it" and table.beyond_uint8 is not None


def test_a_scale_of_zero_is_refused_by_its_row(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["layers/embedding/vars/0"] = np.ones((4, 2), np.int8)
        file["layers/embedding/vars/1"] = np.array([1, 2, 0, 4], np.float32)
    with pytest.raises(FeatureError, match=r"infinite ones in 1 rows, the first of id 2"):
        import_into(tmp_path / "out", "keras", tmp_path / "m.weights.h5", {"tag": "embedding"})


def test_where_keras_has_noted_no_name_the_place_is_the_name(tmp_path: Path) -> None:
    path = Path(shutil.copy(KERAS / "model.weights.h5", tmp_path / "old.weights.h5"))
    with h5py.File(path, "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    assert {"embedding", "embedding_1", "sequential/embedding"} < set(open_source("keras", path).tables)


def test_names_that_are_there_twice_name_no_table(tmp_path: Path) -> None:
    path = Path(shutil.copy(KERAS / "model.weights.h5", tmp_path / "twice.weights.h5"))
    with h5py.File(path, "a") as file:
        file["layers/embedding_1/vars"].attrs["name"] = "user_table"
    with pytest.raises(InvalidInput, match="two layers have the name `user_table`"):
        open_source("keras", path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("no archive")
    (tmp_path / "text.h5").write_text("no HDF5")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    h5py.File(tmp_path / "bare.h5", "w").close()
    with pytest.raises(CorruptFile, match=r"text\.keras.*which is a zip archive"):
        open_source("keras", tmp_path / "text.keras")
    with pytest.raises(CorruptFile, match=r"text\.h5.*weights of Keras in HDF5"):
        open_source("keras", tmp_path / "text.h5")
    with pytest.raises(CorruptFile, match=r"no such member of the archive"):
        open_source("keras", tmp_path / "empty.keras")
    with pytest.raises(InvalidInput, match="has no variables"):
        open_source("keras", tmp_path / "bare.h5")
    with pytest.raises(InvalidInput, match="got the directory"):
        open_source("keras", tmp_path)
    with pytest.raises(NotFound, match="the state of an optimizer"):
        open_source("keras", KERAS / "model.keras").table("adam/2")


@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5"])
def test_a_truncated_file_is_an_error(file: str, tmp_path: Path) -> None:
    data, path = (KERAS / file).read_bytes(), tmp_path / file
    for size in [*range(0, len(data), 2003), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(PersiaError):
            all_rows(open_source("keras", path).table("user_table"))


def test_a_flipped_bit_in_a_keras_file_is_found(tmp_path: Path) -> None:
    data, path = bytearray((KERAS / "model.keras").read_bytes()), tmp_path / "model.keras"
    with zipfile.ZipFile(KERAS / "model.keras") as archive:
        member = archive.getinfo("model.weights.h5")
    for place in range(member.header_offset + 200, member.header_offset + member.file_size, 997):
        data[place] ^= 16
        path.write_bytes(data)
        with pytest.raises(CorruptFile):
            open_source("keras", path)
        data[place] ^= 16


def test_compressed_weights_are_read_too(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(KERAS / "model.keras") as archive,
        zipfile.ZipFile(tmp_path / "small.keras", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        small.writestr("model.weights.h5", archive.read("model.weights.h5"))
    table = open_source("keras", tmp_path / "small.keras").table("user_table")
    np.testing.assert_array_equal(all_rows(table)[1], LOOKED_UP["user_table"])
