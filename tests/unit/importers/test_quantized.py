"""Quantised tables of FBGEMM, and managed collisions: dumps that TorchRec wrote, beside what its modules look up."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from persia import _core
from persia._core import EmbReader
from persia.config import EmbeddingConfig, SlotConfig
from persia.errors import ConfigError, CorruptFile, InvalidInput, NotFound, PersiaError
from persia.formats.checkpoint import open_checkpoint
from persia.importers import REPORT, MappedSlot, TableMap, read_report
from persia.importers.formats import open_source
from persia.importers.managed_collisions import with_raw_ids
from persia.importers.numbers import ids_of_integers
from persia.importers.source import SourceTable
from persia.signs import signs_of
from tests.support.golden import arrays_of
from tests.support.imported import TORCHREC, all_rows, import_into

LOOKED_UP = arrays_of(TORCHREC / "packed.npz")
TABLES = {"user": (21, 12), "item": (30, 8)}  # rows, dim
WEIGHT = "embedding_bags.t_{}.weight"
MANAGED = "_embedding_module.embedding_bags.t_user.weight"
SAVED_TWICE = [("torch", TORCHREC / "managed.pt"), ("torch-dcp", TORCHREC / "managed_dcp")]


@pytest.mark.parametrize("kind", ["int8", "int4", "float16"])
@pytest.mark.parametrize("name", TABLES)
def test_rows_are_what_the_quantised_module_looks_up(kind: Any, name: str) -> None:
    source, (rows, dim) = open_source("torch", TORCHREC / f"{kind}.pt"), TABLES[name]
    ids, found = all_rows(source.packed[WEIGHT.format(name)](kind, dim))
    assert ids.tolist() == list(range(rows))
    np.testing.assert_array_equal(found, LOOKED_UP[f"{kind}.{name}"])


def mapped(**settings: Any) -> dict[str, Any]:
    """What import_into takes for the table of users, which has dim 12."""
    table_map = TableMap(slots={"user": MappedSlot(table=WEIGHT.format("user"), **settings)})
    return {"config": EmbeddingConfig(slots_config={"user": SlotConfig(dim=12)}), "table_map": table_map}


def test_the_report_says_what_was_unpacked(tmp_path: Path) -> None:
    report = import_into(tmp_path / "out", "torch", TORCHREC / "int8.pt", {}, **mapped(quantized="int8"))
    assert [(table.rows, table.conversion) for table in report.tables] == [(21, "int8 to float32, exactly as FBGEMM does it")]


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_the_report_says_that_servers_keep_the_rows_in_a_byte_a_number(tmp_path: Path, kind: Any) -> None:
    report = import_into(tmp_path / "out", "torch", TORCHREC / f"{kind}.pt", {}, **mapped(quantized=kind))
    assert [table.beyond_uint8 for table in report.tables] == [0]
    builder = _core.TableBuilder("uint8")
    marker = open_checkpoint(tmp_path / "out")
    for path in marker.files:
        for signs, dims, values, _ in EmbReader(path):
            builder.put(signs, values.reshape(-1, dims[0]), 0, 1)
    table = _core.Table(builder).pin()
    signs = signs_of(np.arange(21, dtype=np.uint64), mapped()["config"].slots["user"])[0]
    np.testing.assert_array_equal(table.rows(signs, 12)[0], LOOKED_UP[f"{kind}.user"])


def test_rows_that_servers_would_round_are_counted(tmp_path: Path) -> None:
    """A scale in float16 that is inf, and codes whose ends no row has, come from no quantiser, but a file can have them."""
    import_into(tmp_path / "exact", "torch", TORCHREC / "float16.pt", {}, **mapped(quantized="float16"))
    packed = np.zeros((3, 16), np.uint8)
    packed[:, :2] = np.array([0.1], np.float16).view(np.uint8)
    packed[:, 4:16] = [[0, 255, *range(10)], [3, 100, *range(50, 60)], [7] * 12]
    path = tmp_path / "t.safetensors"
    save_file({"t": packed}, path)
    table_map = TableMap(slots={"user": MappedSlot(table="t", quantized="int8")})
    report = import_into(tmp_path / "out", "safetensors", path, {}, config=mapped()["config"], table_map=table_map)
    assert [table.beyond_uint8 for table in report.tables] == [1]
    assert read_report(tmp_path / "exact" / REPORT).tables[0].beyond_uint8 is None


@pytest.mark.parametrize(("kind", "dim", "width"), [("int8", 8, 16), ("int8", 24, 32), ("int4", 24, 16)])
def test_scale_and_bias_behind_the_codes_are_another_layout(kind: Any, dim: int, width: int, tmp_path: Path) -> None:
    """As torch's embedding_bag_byte_prepack and embedding_bag_4bit_prepack write rows, which are as long."""
    rng = np.random.default_rng(dim)
    tail = np.array([0.01, -1.28], np.float32 if kind == "int8" else np.float16)
    codes = rng.integers(0, 256, (30, width - tail.nbytes)).astype(np.uint8)
    packed = np.concatenate([codes, np.tile(tail.view(np.uint8), (30, 1))], axis=1)
    save_file({"t": packed}, tmp_path / "t.safetensors")
    source = open_source("safetensors", tmp_path / "t.safetensors")
    with pytest.raises(InvalidInput, match=rf"row \d+ of `t` is none of {kind} and dim {dim}, with scale and bias before its"):
        all_rows(source.packed["t"](kind, dim))


@pytest.mark.parametrize(
    ("file", "settings", "error", "words"),
    [
        ("int8.pt", {}, NotFound, "the file does not say of which kind: write `quantized: int8`, `int4` or `float16`"),
        (
            "int8.pt",
            {"quantized": "float16"},
            InvalidInput,
            "expected rows of 32 bytes in `.*`, as float16 of dim 12 has, got 16",
        ),
        ("state.pt", {"quantized": "int8"}, ConfigError, "`quantized: int8` is for rows of bytes, and `.*` has floats"),
    ],
    ids=["no-kind", "another-kind", "floats"],
)
def test_a_kind_that_does_not_fit_is_refused(
    tmp_path: Path, file: str, settings: dict[str, Any], error: type[PersiaError], words: str
) -> None:
    arguments = mapped(**settings)
    if file == "state.pt":
        table = "sparse_arch.embedding_bag_collection.embedding_bags.t_user.weight"
        arguments["table_map"] = TableMap(slots={"user": MappedSlot(table=table, **settings)})
    with pytest.raises(error, match=words):
        import_into(tmp_path / "out", "torch", TORCHREC / file, {}, **arguments)


@pytest.mark.parametrize("kind", ["int8", "int4", "float16"])
def test_a_flipped_byte_is_found_by_the_checksum(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "spoiled.pt"
    data = bytearray((TORCHREC / f"{kind}.pt").read_bytes())
    array = open_source("torch", TORCHREC / f"{kind}.pt").packed[WEIGHT.format("user")].args[1]  # type: ignore[attr-defined]
    data[array.byte + 5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptFile, match=re.escape(str(path))):
        open_source("torch", path).packed[WEIGHT.format("user")](kind, 12)
        all_rows(open_source("torch", path).packed[WEIGHT.format("user")](kind, 12))


def test_rows_with_managed_collisions_belong_to_raw_ids() -> None:
    table = open_source("torch", TORCHREC / "managed.pt").table(MANAGED)
    ids, rows = all_rows(table)
    order = np.argsort(ids)
    np.testing.assert_array_equal(ids[order], ids_of_integers(LOOKED_UP["managed.ids"]))
    np.testing.assert_array_equal(rows[order], LOOKED_UP["managed.rows"])
    assert table.ids == "keys" and table.rows == len(ids) < 20
    assert table.conversion == "ids that TorchRec has not seen have its row 19 there, which `default: row 19` takes over"


def test_a_distributed_checkpoint_with_managed_collisions_has_the_rows_of_the_state_dict() -> None:
    tables = [open_source(*source).table(MANAGED) for source in SAVED_TWICE]
    (ids, rows), (other_ids, other_rows) = map(all_rows, tables)
    assert tables[0].conversion == tables[1].conversion
    assert ids.tolist() == other_ids.tolist() and rows.tobytes() == other_rows.tobytes()


def test_raw_ids_that_two_processes_have_are_all_there(tmp_path: Path) -> None:
    """Each of them has managed collisions of its own, for the rows that it holds."""
    name = f"0.{MANAGED}"
    table = open_source("torch-dcp", TORCHREC / "managed_two").table(name)
    ids, rows = all_rows(table)
    order, looked_up = np.argsort(ids), arrays_of(TORCHREC / "managed_two.npz")
    expected = np.argsort(looked_up["ids"])
    np.testing.assert_array_equal(ids[order], ids_of_integers(looked_up["ids"][expected]))
    np.testing.assert_array_equal(rows[order], looked_up["rows"][expected])
    assert table.conversion == "ids that TorchRec has not seen have the last row of one of 2 parts there, and no row here"
    report = import_into(tmp_path / "out", "torch-dcp", TORCHREC / "managed_two", {"user": name})
    assert [(table.rows, table.ids) for table in report.tables] == [(len(ids), "keys")]


@pytest.mark.parametrize("gone", ["__0_0.distcp", "__1_0.distcp"])
def test_raw_ids_of_a_process_that_is_missing_are_half_a_source(tmp_path: Path, gone: str) -> None:
    shutil.copytree(TORCHREC / "managed_two", tmp_path / "two")
    (tmp_path / "two" / gone).unlink()
    with pytest.raises(CorruptFile, match=f"the file {gone} of `.*` in .*, got no such file"):
        open_source("torch-dcp", tmp_path / "two")


@pytest.mark.parametrize(
    ("raw", "places", "words"),
    [
        ([5, 6, 7], [0, 1], "expected a row of its own for each raw id of `.*`, got"),
        ([5, 6], [1, 1], "expected a row of its own for each raw id"),
        ([5, 6], [0, 3], "expected rows below 3 for the raw ids of `.*`, got 3"),
        ([5, 6], [0, -1], "expected rows below 3"),
    ],
)
def test_raw_ids_that_do_not_fit_the_table_are_refused(raw: list[int], places: list[int], words: str) -> None:
    module = "_managed_collision_collection._managed_collision_modules.t_user."
    arrays = {f"{module}_mch_sorted_raw_ids": np.array(raw), f"{module}_mch_remapped_ids_mapping": np.array(places)}
    table = SourceTable(MANAGED, 3, 2, "rows", lambda: iter([]))
    with pytest.raises(InvalidInput, match=words):
        with_raw_ids({MANAGED: table}, arrays, lambda name: [arrays[name]])


def test_raw_ids_without_their_rows_are_refused() -> None:
    module = "_managed_collision_collection._managed_collision_modules.t_user."
    table = SourceTable(MANAGED, 3, 2, "rows", lambda: iter([]))
    with pytest.raises(InvalidInput, match=r"_mch_remapped_ids_mapping` beside `.*_mch_sorted_raw_ids`, which says what rows"):
        with_raw_ids({MANAGED: table}, {f"{module}_mch_sorted_raw_ids": 0}, lambda name: [np.array([1])])


def test_a_truncated_dump_is_refused(tmp_path: Path) -> None:
    shutil.copy(TORCHREC / "managed.pt", tmp_path / "short.pt")
    data = (tmp_path / "short.pt").read_bytes()
    for size in range(0, len(data), 501):
        (tmp_path / "short.pt").write_bytes(data[:size])
        with pytest.raises(PersiaError):
            all_rows(open_source("torch", tmp_path / "short.pt").table(MANAGED))
