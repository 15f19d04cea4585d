"""tables.yml as a file, and what `--propose` makes of a source."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import h5py  # noqa: F401 - it starts a process where it is imported first, to ask for the processor
import numpy as np
import pytest

from persia.config import load_embedding_config
from persia.errors import ConfigError, InvalidInput
from persia.importers import MappedSlot, load_table_map
from persia.importers.formats import FORMATS, open_source
from persia.importers.proposing import propose
from tests.support.imported import TORCHREC, import_into
from tests.support.raw_dumps import write_hps


def test_a_map_with_all_of_its_keys(tmp_path: Path) -> None:
    (tmp_path / "tables.yml").write_text("slots:\n  user: {table: t, pooling: mean, default: zeros, modulo: 9, padding: 0}\n")
    table_map = load_table_map(tmp_path / "tables.yml")
    assert table_map.slots == {"user": MappedSlot(table="t", pooling="mean", default="zeros", modulo=9, padding=0)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slots: {user: {tabel: t}}", r"line 1: unknown key `tabel`, did you mean `table`\? - at `\$.slots.user.tabel`"),
        ("slots:\n  user: {pooling: sum}", r"line 2: expected the key `table`, got none - at `\$.slots.user`"),
        ("slots: {user: {table: t, pooling: avg}}", "got `avg`"),
        ("slots: {user: {table: t, padding: -1}}", "expected an integer >= 0, got `-1`"),
        ("", "the file is empty"),
    ],
)
def test_mistakes_are_named_with_their_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "tables.yml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_table_map(tmp_path / "tables.yml")


def test_a_proposal_can_be_imported_as_it_stands(tmp_path: Path) -> None:
    source = open_source("torch-dcp", TORCHREC / "dcp")
    names = propose(source, tmp_path)
    assert [name.split(".")[-2] for name in names] == ["t_item", "t_tag", "t_user"]  # and no weights of layers
    config = load_embedding_config(tmp_path / "embedding_config.yml")
    table_map = load_table_map(tmp_path / "tables.yml")
    assert {name: slot.dim for name, slot in config.slots.items()} == {"t_item": 8, "t_tag": 8, "t_user": 8}
    report = import_into(tmp_path / "out", "torch-dcp", TORCHREC / "dcp", {}, config=config, table_map=table_map)
    assert sum(table.rows for table in report.tables) == 124
    assert "#   dense_arch.model._mlp.0._linear.weight: 16 rows of dim 4" in (tmp_path / "tables.yml").read_text()


def test_a_proposal_leaves_as_many_bits_as_it_can_to_keys(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / "source" / f"table {i}").mkdir(parents=True)
        np.save(tmp_path / "source" / f"table {i}" / "ids.npy", np.arange(2))
        np.save(tmp_path / "source" / f"table {i}" / "rows.npy", np.zeros((2, 3), np.float32))
    propose(open_source("numpy", tmp_path / "source"), tmp_path)
    config = load_embedding_config(tmp_path / "embedding_config.yml")
    assert config.feature_index_prefix_bit == 3 and list(config.slots) == [f"table {i}" for i in range(5)]
    assert load_table_map(tmp_path / "tables.yml").slots["table 4"].table == "table 4"


def test_a_proposal_of_tables_that_might_be_weights_of_layers_has_them_all(tmp_path: Path) -> None:
    """An embedding config without a slot is none."""
    source = open_source("torch", TORCHREC / "state.pt")
    weights = {name: table for name, table in source.tables.items() if not table.guess}
    assert propose(replace(source, tables=weights), tmp_path) == list(weights)
    assert len(load_embedding_config(tmp_path / "embedding_config.yml").slots) == len(weights) > 0


def test_a_proposal_takes_over_what_ids_without_a_row_get(tmp_path: Path) -> None:
    """Of managed collisions, and the numbers of all tables are not rounded."""
    source = open_source("torch", TORCHREC / "managed.pt")
    propose(source, tmp_path)
    config, table_map = load_embedding_config(tmp_path / "embedding_config.yml"), load_table_map(tmp_path / "tables.yml")
    ((name, slot),) = config.slots.items()
    assert (slot.output, slot.default_id) == ("f32", 2**63 - 2)
    assert table_map.slots[name].default == "row 19"
    import_into(tmp_path / "out", "torch", TORCHREC / "managed.pt", {}, config=config, table_map=table_map)


def test_a_proposal_names_rows_of_bytes(tmp_path: Path) -> None:
    source = open_source("torch", TORCHREC / "int8.pt")
    with pytest.raises(InvalidInput, match=r"got none: the rows of .*t_user.* are bytes"):
        propose(source, tmp_path / "none")
    propose(replace(source, tables=open_source("torch", TORCHREC / "state.pt").tables), tmp_path)
    assert re.search(r"#   \S+t_user.weight: \{table: .*, quantized: int8\}", (tmp_path / "tables.yml").read_text())


def test_a_proposal_says_what_the_files_do_not(tmp_path: Path) -> None:
    """Rows of 16 bits would be half as many numbers, and the dim of the proposal half of their own."""
    propose(open_source("hugectr", write_hps(tmp_path / "t")), tmp_path / "out")
    assert "# 5 rows of dim 3, by key, if keys are int64 and numbers float32" in (tmp_path / "out" / "tables.yml").read_text()


def test_a_proposal_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "tables.yml").write_text("mine\n")
    with pytest.raises(InvalidInput, match=r"expected no .*tables.yml"):
        propose(open_source("torch", TORCHREC / "state.pt"), tmp_path)
    assert (tmp_path / "tables.yml").read_text() == "mine\n"


def test_every_format_has_a_module() -> None:
    for format in FORMATS:
        with pytest.raises((InvalidInput, OSError)):
            open_source(format, Path("nothing"))
