"""Tables whose system has default rows, ids modulo a number, or keys that are signs: imported, or refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia.config import EmbeddingConfig, SlotConfig
from persia.config.embedding_config import DefaultRowConfig
from persia.errors import ConfigError, FeatureError, InvalidInput
from persia.importers import MappedSlot, TableMap, verify_import
from persia.importers.formats import open_source
from persia.signs import signs_of
from tests.support.golden import arrays_of
from tests.support.imported import TORCHREC, all_rows, import_into, read_checkpoint

MANAGED = "_embedding_module.embedding_bags.t_user.weight"
FREE = 2**56 - 2  # the largest id that stays as it is with 8 prefix bits


def tables_of(directory: Path, **tables: tuple[Any, Any]) -> Path:
    """Of each its keys, or None, and its rows."""
    for name, (keys, rows) in tables.items():
        (directory / name).mkdir(parents=True)
        np.save(directory / name / "rows.npy", np.asarray(rows, np.float32))
        if keys is not None:
            np.save(directory / name / "ids.npy", np.asarray(keys))
    return directory


def import_numpy(out: Path, path: Path, config: EmbeddingConfig, **mapped: MappedSlot) -> Any:
    return import_into(out, "numpy", path, {}, config=config, table_map=TableMap(slots=mapped))


def managed(out: Path, id: int, default: str = "row 19") -> tuple[Any, EmbeddingConfig]:
    config = EmbeddingConfig(slots_config={"user": SlotConfig(dim=4, default_row=DefaultRowConfig(id=id))})
    table_map = TableMap(slots={"user": MappedSlot(table=MANAGED, default=default)})
    return import_into(out, "torch", TORCHREC / "managed.pt", {}, config=config, table_map=table_map), config


def test_the_default_row_of_torchrecs_managed_collisions_comes_along(tmp_path: Path) -> None:
    report, config = managed(tmp_path / "out", FREE)
    rows = read_checkpoint(tmp_path / "out")
    table = open_source("torch", TORCHREC / "managed.pt").table(MANAGED)
    assert table.numbered is not None
    whole = np.concatenate([part for _, part in table.numbered()])
    sign = int(signs_of([FREE], config.slots["user"])[0, 0])
    assert rows[sign] == whole[19].tobytes()
    assert report.tables[0].rows == len(rows) == table.rows + 1 and report.tables[0].left_out == 0
    assert verify_import(tmp_path / "out") == report
    ids, _ = all_rows(table)
    assert len(ids) == table.rows


def test_a_default_row_needs_an_id_that_no_key_is(tmp_path: Path) -> None:
    key = int(arrays_of(TORCHREC / "packed.npz")["managed.ids"][0])
    with pytest.raises(InvalidInput, match=f"has the key {key}, which is that of the default row: choose another"):
        managed(tmp_path / "out", key)
    with pytest.raises(InvalidInput, match="has no row 20, which is to be the default row"):
        managed(tmp_path / "out", FREE, "row 20")
    assert not (tmp_path / "out" / "embedding_dump_done").exists()


def test_by_row_number_the_default_row_is_that_of_its_id(tmp_path: Path) -> None:
    source = tables_of(tmp_path / "source", t=(None, np.ones((3, 2))))
    for id, fits in ((2, True), (1, False)):
        config = EmbeddingConfig(slots_config={"user": SlotConfig(dim=2, default_row=DefaultRowConfig(id=id))})
        mapped = MappedSlot(table="t", default="row 2")
        if fits:
            assert import_numpy(tmp_path / "out", source, config, user=mapped).tables[0].rows == 3
        else:
            with pytest.raises(ConfigError, match=r"is `row 2`, and `default_row: \{id: 1\}` of the .* is row 1"):
                import_numpy(tmp_path / "other", source, config, user=mapped)


@pytest.mark.parametrize(
    ("default", "slot"),
    [
        ("zeros", SlotConfig(dim=2)),
        ("0.1", SlotConfig(dim=2, default_row=DefaultRowConfig(value=0.1))),
        ("-1e-3", SlotConfig(dim=2, default_row=DefaultRowConfig(value=-0.001))),
    ],
)
def test_a_constant_that_the_slot_has_is_imported(default: str, slot: SlotConfig, tmp_path: Path) -> None:
    source = tables_of(tmp_path / "source", t=([5, 6], np.ones((2, 2))))
    config = EmbeddingConfig(slots_config={"user": slot})
    assert import_numpy(tmp_path / "out", source, config, user=MappedSlot(table="t", default=default)).tables[0].rows == 2


def test_a_table_of_ids_modulo_its_rows_is_imported(tmp_path: Path) -> None:
    source = tables_of(tmp_path / "source", t=(None, np.arange(6).reshape(3, 2)), keyed=([1, 4], np.ones((2, 2))))
    config = EmbeddingConfig(slots_config={"user": SlotConfig(dim=2, modulo=3)})
    import_numpy(tmp_path / "out", source, config, user=MappedSlot(table="t", modulo=3))
    rows = read_checkpoint(tmp_path / "out")
    (sign,) = signs_of([-1], config.slots["user"])[0].tolist()
    assert rows[sign] == np.array([4, 5], np.float32).tobytes()
    with pytest.raises(InvalidInput, match="table `keyed` has the key 4, and lookups ask for keys below `modulo: 3` alone"):
        import_numpy(tmp_path / "other", source, config, user=MappedSlot(table="keyed", modulo=3))


def test_slots_of_one_group_may_take_other_modulos(tmp_path: Path) -> None:
    """Rows lie under their keys: a slot without a modulo finds those beyond the modulo of another one."""
    source = tables_of(tmp_path / "source", t=([1, 150], [[1, 1], [2, 2]]))
    slots = {"hashed": SlotConfig(dim=2, modulo=100), "whole": SlotConfig(dim=2)}
    config = EmbeddingConfig(slots_config=slots, feature_groups={"both": ("hashed", "whole")})
    import_numpy(tmp_path / "out", source, config, hashed=MappedSlot(table="t"), whole=MappedSlot(table="t"))
    rows = read_checkpoint(tmp_path / "out")
    assert {signs_of([id], config.slots["whole"])[0, 0] for id in (1, 150)} == rows.keys()


@pytest.mark.parametrize("default", [DefaultRowConfig(value=0.5), DefaultRowConfig(id=1)])
def test_the_row_of_a_padding_is_zeros_where_ids_without_a_row_have_another(default: DefaultRowConfig, tmp_path: Path) -> None:
    source = tables_of(tmp_path / "source", t=(None, np.ones((3, 2))), keyed=([1, 2], np.ones((2, 2))))
    config = EmbeddingConfig(slots_config={"user": SlotConfig(dim=2, default_row=default)})
    report = import_numpy(tmp_path / "out", source, config, user=MappedSlot(table="t", padding=0))
    (sign,) = signs_of([0], config.slots["user"])[0].tolist()
    assert read_checkpoint(tmp_path / "out")[sign] == bytes(8)
    assert (report.tables[0].rows, report.tables[0].left_out) == (3, 0)
    with pytest.raises(InvalidInput, match="has no row 0 for its `padding`, so that id would get the default row"):
        import_numpy(tmp_path / "other", source, config, user=MappedSlot(table="keyed", padding=0))


@pytest.mark.parametrize(("table", "id"), [("t", 9), ("keyed", 7)])
def test_a_default_row_that_the_source_has_not_is_refused(table: str, id: int, tmp_path: Path) -> None:
    source = tables_of(tmp_path / "source", t=(None, np.ones((3, 2))), keyed=([1, 2], np.ones((2, 2))))
    config = EmbeddingConfig(slots_config={"user": SlotConfig(dim=2, default_row=DefaultRowConfig(id=id))})
    with pytest.raises(InvalidInput, match=f"table `{table}` has no row {id}, which is to be the default row"):
        import_numpy(tmp_path / "out", source, config, user=MappedSlot(table=table, default=f"row {id}"))


def test_a_default_row_without_a_key_needs_an_id_that_is_not_folded(tmp_path: Path) -> None:
    """2^63 - 1 has the sign of the id 127, whose rows in packets would be the default row."""
    with pytest.raises(ConfigError, match=f"has the sign of the id 127, .* Take {FREE}, or another id below"):
        managed(tmp_path / "out", 2**63 - 1)


KEYS = np.array([2**64 - 1, 2**63, 7], np.uint64)


def signs_config(*names: str, **others: SlotConfig) -> EmbeddingConfig:
    return EmbeddingConfig(slots_config={**{name: SlotConfig(dim=2, ids_are_signs=True) for name in names}, **others})


def test_keys_that_are_signs_are_imported_as_they_are(tmp_path: Path) -> None:
    first, second = np.ones((3, 2)), np.full((2, 2), 2)
    source = tables_of(tmp_path / "source", a=(KEYS, first), b=([8, 9], second), c=(None, np.zeros((4, 3))))
    config = signs_config("user", "friend", "item", other=SlotConfig(dim=3))
    maps = {name: MappedSlot(table=table) for name, table in {"user": "a", "friend": "a", "item": "b", "other": "c"}.items()}
    report = import_numpy(tmp_path / "out", source, config, **maps)
    assert [table.slots for table in report.tables] == [("user", "friend"), ("item",), ("other",)]
    assert [(table.prefix, table.folded) for table in report.tables] == [(0, 0), (0, 0), (1 << 56, 0)]
    rows = read_checkpoint(tmp_path / "out")
    assert rows.keys() == {*KEYS.tolist(), 8, 9, *range(1 << 56, (1 << 56) + 4)}
    assert verify_import(tmp_path / "out") == report


def test_two_tables_with_one_key_are_both_named(tmp_path: Path) -> None:
    source = tables_of(tmp_path / "source", a=(KEYS, np.ones((3, 2))), b=([8, 7], np.ones((2, 2))))
    maps = {"user": MappedSlot(table="a"), "item": MappedSlot(table="b")}
    with pytest.raises(InvalidInput, match="the tables `a` and `b` both have the key 7, which is one sign"):
        import_numpy(tmp_path / "out", source, signs_config("user", "item"), **maps)


def test_a_key_that_would_be_a_sign_of_another_table_is_refused(tmp_path: Path) -> None:
    source = tables_of(tmp_path / "source", a=([1 << 56], np.ones((1, 2))), b=(None, np.ones((2, 2))))
    config = signs_config("user", item=SlotConfig(dim=2))
    maps = {"user": MappedSlot(table="a"), "item": MappedSlot(table="b")}
    with pytest.raises(FeatureError, match=f"the key {1 << 56} of table `a` would be a sign of group 0"):
        import_numpy(tmp_path / "out", source, config, **maps)
