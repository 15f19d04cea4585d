"""Quantised tables of FBGEMM, and managed collisions: dumps that TorchRec wrote, beside what its modules look up."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia.config import EmbeddingConfig, SlotConfig
from persia.errors import ConfigError, CorruptFile, InvalidInput, NotFound, PersiaError
from persia.importers import MappedSlot, TableMap
from persia.importers.formats import open_source
from persia.importers.managed_collisions import with_raw_ids
from persia.importers.numbers import ids_of_integers
from persia.importers.source import SourceTable
from tests.support.golden import arrays_of
from tests.support.imported import TORCHREC, all_rows, import_into

LOOKED_UP = arrays_of(TORCHREC / "packed.npz")
TABLES = {"user": (21, 12), "item": (30, 8)}  # rows, dim
WEIGHT = "embedding_bags.t_{}.weight"
MANAGED = "_embedding_module.embedding_bags.t_user.weight"


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


def test_a_sharded_table_with_managed_collisions_is_not_taken_for_one_by_row_numbers() -> None:
    with pytest.raises(NotFound, match=r"its rows belong to raw ids \(managed collisions\)"):
        open_source("torch-dcp", TORCHREC / "managed_dcp").table(MANAGED)


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
        with_raw_ids({MANAGED: table}, arrays, arrays.__getitem__)


def test_a_truncated_dump_is_refused(tmp_path: Path) -> None:
    shutil.copy(TORCHREC / "managed.pt", tmp_path / "short.pt")
    data = (tmp_path / "short.pt").read_bytes()
    for size in range(0, len(data), 501):
        (tmp_path / "short.pt").write_bytes(data[:size])
        with pytest.raises(PersiaError):
            all_rows(open_source("torch", tmp_path / "short.pt").table(MANAGED))
