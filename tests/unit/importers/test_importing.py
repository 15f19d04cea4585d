"""From tables to a checkpoint: every row under its sign, or a refusal that leaves no checkpoint."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia.config import EmbeddingConfig, HashStackConfig, SlotConfig
from persia.errors import ConfigError, CorruptFile, FeatureError, InvalidInput, NotFound, NotRepresentable
from persia.importers import REPORT, MappedSlot, SourceTable, TableMap, import_tables, read_report, verify_import
from persia.importers.formats import open_source
from persia.importers.source import BLOCK_BYTES, Block, Source
from tests.support.imported import config_of, expected_rows, import_into
from tests.support.written import read_checkpoint

MODULUS = 2**56 - 1


def numpy_table(directory: Path, rows: Any, ids: Any = None) -> Path:
    directory.mkdir(parents=True)
    np.save(directory / "rows.npy", np.asarray(rows))
    if ids is not None:
        np.save(directory / "ids.npy", np.asarray(ids))
    return directory


def floats(rows: int, dim: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(rows).normal(size=(rows, dim)).astype(np.float32)


def import_source(out: Path, source: Source, origin: Path) -> None:
    """A source of a test's own, with one table."""
    table_map = TableMap(slots={"user": MappedSlot(table="t")})
    import_tables(source, out, format="test", origin=origin, config=config_of({"user": 2}), table_map=table_map, shards=1)


def test_all_rows_are_in_the_checkpoint_under_their_signs(tmp_path: Path) -> None:
    keys = np.array([5, 2**64 - 1, 17, MODULUS - 1], np.uint64)
    by_number, by_key = floats(300, 3), floats(4, 2)
    numpy_table(tmp_path / "source" / "a", by_number)
    numpy_table(tmp_path / "source" / "b", by_key, keys.view(np.int64))  # as others store keys
    config = config_of({"user": 3, "item": 2})
    report = import_into(tmp_path / "out", "numpy", tmp_path / "source", {"user": "a", "item": "b"}, config=config)
    expected = expected_rows(config, {"user": (np.arange(300), by_number), "item": (keys, by_key)})
    assert read_checkpoint(tmp_path / "out") == expected
    assert [(table.rows, table.ids, table.folded) for table in report.tables] == [(300, "rows", 0), (4, "keys", 1)]
    assert read_report(tmp_path / "out" / REPORT) == report
    assert verify_import(tmp_path / "out") == report


def test_blocks_of_any_size_give_the_same_digest(tmp_path: Path) -> None:
    rows = floats(1000, 2)

    def source(step: int) -> Source:
        def blocks() -> Any:
            for begin in reversed(range(0, len(rows), step)):
                end = min(begin + step, len(rows))
                yield np.arange(begin, end, dtype=np.uint64), rows[begin:end].copy()

        return Source((), {"t": SourceTable("t", len(rows), 2, "rows", blocks)})

    def digest(step: int) -> str:
        report = import_tables(
            source(step),
            tmp_path / str(step),
            format="test",
            origin=tmp_path,
            config=config_of({"user": 2}),
            table_map=TableMap(slots={"user": MappedSlot(table="t")}),
            shards=1 + step % 3,
            files_per_shard=1,
        )
        return report.tables[0].digest

    assert len({digest(1), digest(7), digest(1000)}) == 1


def test_slots_of_a_group_share_a_table(tmp_path: Path) -> None:
    numpy_table(tmp_path / "t", floats(9, 2))
    config = config_of({"clicked": 2, "bought": 2}, feature_groups={"items": ("clicked", "bought")})
    report = import_into(tmp_path / "out", "numpy", tmp_path / "t", {"clicked": "t", "bought": "t"}, config=config)
    assert [table.slots for table in report.tables] == [("clicked", "bought")]
    assert len(read_checkpoint(tmp_path / "out")) == 9


def test_slots_of_a_group_cannot_have_two_tables(tmp_path: Path) -> None:
    for name in ("a", "b"):
        numpy_table(tmp_path / "source" / name, floats(2, 2))
    config = config_of({"x": 2, "y": 2}, feature_groups={"g": ("x", "y")})
    with pytest.raises(ConfigError, match=r"in one feature group"):
        import_into(tmp_path / "out", "numpy", tmp_path / "source", {"x": "a", "y": "b"}, config=config)


def test_the_row_of_the_padding_is_left_out(tmp_path: Path) -> None:
    rows = floats(4, 2)
    numpy_table(tmp_path / "t", rows)
    table_map = TableMap(slots={"user": MappedSlot(table="t", padding=2)})
    report = import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"}, table_map=table_map)
    assert report.tables[0].left_out == 1
    expected = expected_rows(config_of({"user": 2}), {"user": ([0, 1, 3], rows[[0, 1, 3]])})
    assert read_checkpoint(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([7, 8, 7], r"table `t` has two rows for the key 7"),
        ([7, MODULUS + 7, 9], rf"the keys 7 and {MODULUS + 7} would share a row, because a key counts modulo 2\^56 - 1"),
    ],
)
def test_keys_that_meet_are_both_named(keys: list[int], message: str, tmp_path: Path) -> None:
    numpy_table(tmp_path / "t", floats(3, 2), np.array(keys, np.uint64))
    with pytest.raises(InvalidInput, match=message):
        import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"})
    assert not (tmp_path / "out" / "embedding_dump_done").exists()


def test_keys_that_would_meet_do_not_with_fewer_bits_for_groups(tmp_path: Path) -> None:
    numpy_table(tmp_path / "t", floats(2, 2), np.array([7, MODULUS + 7], np.uint64))
    config = config_of({"user": 2}, feature_index_prefix_bit=1)
    import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"}, config=config)
    assert len(read_checkpoint(tmp_path / "out")) == 2


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused_by_the_id_of_their_row(number: float, tmp_path: Path) -> None:
    rows = floats(5, 2)
    rows[3, 1] = number
    numpy_table(tmp_path / "t", rows)
    with pytest.raises(FeatureError, match=r"'user': .* 1 rows, the first of id 3"):
        import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"})
    report = import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"}, allow_non_finite=True)
    assert report.tables[0].rows == 5 and verify_import(tmp_path / "out") == report


def test_rows_that_float16_does_not_hold_are_counted(tmp_path: Path) -> None:
    numpy_table(tmp_path / "t", np.array([[1, 65504], [-65505, 1e9], [1, 1]], np.float32))
    cases: list[tuple[list[Any], int]] = [(["f16"], 1), (["f32"], 0), (["f32", "f16"], 1)]
    for outputs, beyond in cases:
        slots = {f"user{i}": SlotConfig(dim=2, output=output) for i, output in enumerate(outputs)}
        config = EmbeddingConfig(slots_config=slots, feature_groups={"users": tuple(slots)})
        out, tables = tmp_path / "-".join(outputs), dict.fromkeys(slots, "t")
        assert import_into(out, "numpy", tmp_path / "t", tables, config=config).tables[0].beyond_half == beyond


@pytest.mark.parametrize(
    ("mapped", "error", "message"),
    [
        (MappedSlot(table="tt"), NotFound, "no table `tt`: did you mean `t`"),
        (MappedSlot(table="t", pooling="mean"), ConfigError, r"pools by `mean`.*has `pooling: sum` - at `\$.slots.user`"),
        (MappedSlot(table="t", pooling="max"), ConfigError, "which is `pooling: raw`.*the dense half does the rest"),
        (
            MappedSlot(table="t", default="row 3"),
            ConfigError,
            r"`row 3` for an id .*, which is `default_row: \{id: ...\}",
        ),
        (MappedSlot(table="t", default="0.5"), ConfigError, r"which is `default_row: \{value: 0.5\}` in the embedding config"),
        (MappedSlot(table="t", default="something"), ConfigError, "expected `zeros`, a number or `row N`, got `something`"),
        (MappedSlot(table="t", modulo=100), ConfigError, "which is `modulo: 100` in the embedding config; it has `modulo: 0`"),
    ],
)
def test_what_the_source_does_and_not_the_slot(
    mapped: MappedSlot, error: type[Exception], message: str, tmp_path: Path
) -> None:
    numpy_table(tmp_path / "t", floats(2, 2))
    with pytest.raises(error, match=message):
        import_into(
            tmp_path / "out",
            "numpy",
            tmp_path / "t",
            {},
            config=config_of({"user": 2}),
            table_map=TableMap(slots={"user": mapped}),
        )
    assert not (tmp_path / "out").exists()


def test_a_hash_stack_has_no_rows_elsewhere(tmp_path: Path) -> None:
    numpy_table(tmp_path / "t", floats(2, 2))
    stack = HashStackConfig(hash_stack_rounds=2, embedding_size=10)
    config = EmbeddingConfig(slots_config={"user": SlotConfig(dim=2, hash_stack_config=stack)})
    with pytest.raises(NotRepresentable, match=r"slot `user` has a hash stack"):
        import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"}, config=config)


def test_a_slot_without_a_table_and_a_table_without_a_slot(tmp_path: Path) -> None:
    numpy_table(tmp_path / "t", floats(2, 2))
    with pytest.raises(ConfigError, match=r"a table for each slot of the embedding config, got none for `item`"):
        import_into(tmp_path / "a", "numpy", tmp_path / "t", {"user": "t"}, config=config_of({"user": 2, "item": 2}))
    with pytest.raises(ConfigError, match=r"has no slot `item` - at `\$.slots.item`"):
        import_into(tmp_path / "b", "numpy", tmp_path / "t", {"item": "t"}, config=config_of({"user": 2}))


def test_another_dim_than_the_slot_has(tmp_path: Path) -> None:
    numpy_table(tmp_path / "t", floats(2, 3))
    with pytest.raises(FeatureError, match=r"'user': expected a table of dim 2, as in the embedding config, got dim 3 in `t`"):
        import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"}, config=config_of({"user": 2}))


def test_a_finished_checkpoint_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    numpy_table(tmp_path / "t", floats(2, 2))
    import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"})
    with pytest.raises(InvalidInput, match=r"without a finished checkpoint"):
        import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"})
    import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"}, overwrite=True)


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    directory = numpy_table(tmp_path / "t", floats(2, 2))
    file = directory / "rows.npy"

    def blocks() -> Any:
        yield np.arange(2, dtype=np.uint64), floats(2, 2)
        os.utime(file, (1, 1))

    source = Source((file,), {"t": SourceTable("t", 2, 2, "rows", blocks)})
    with pytest.raises(CorruptFile, match=r"stays as it is while it is read"):
        import_source(tmp_path / "out", source, directory)
    assert not (tmp_path / "out" / "embedding_dump_done").exists()


def test_a_source_that_gives_fewer_rows_than_it_has_is_refused(tmp_path: Path) -> None:
    def blocks() -> Any:
        block: Block = (np.arange(2, dtype=np.uint64), floats(2, 2))
        yield block

    source = Source((), {"t": SourceTable("t", 3, 2, "rows", blocks)})
    with pytest.raises(InvalidInput, match=r"expected 3 rows of table `t`, got 2"):
        import_source(tmp_path / "out", source, tmp_path)


def test_a_row_that_changes_afterwards_is_found(tmp_path: Path) -> None:
    numpy_table(tmp_path / "t", floats(50, 2))
    import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"}, shards=1, files_per_shard=1)
    file = tmp_path / "out" / "s0" / "replica_0_shard_0.emb"
    data = bytearray(file.read_bytes())
    data[45] ^= 1  # a number of the first row
    file.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"50 rows of table `t` with the digest"):
        verify_import(tmp_path / "out")


@pytest.mark.parametrize("format", ["numpy", "safetensors"])
def test_a_source_is_read_in_blocks_of_bounded_size(format: str, tmp_path: Path) -> None:
    """Of 128 MB of rows, with ids: not more than some blocks are in memory at a time."""
    count, dim = 500_000, 64
    path = tmp_path / "t"
    if format == "numpy":
        path.mkdir()
        np.lib.format.open_memmap(path / "rows.npy", "w+", np.float32, (count, dim)).flush()
        np.save(path / "ids.npy", np.arange(count))
    else:
        end = 4 * count * dim
        ids = {"dtype": "I64", "shape": [count], "data_offsets": [end, end + 8 * count]}
        rows = {"dtype": "F32", "shape": [count, dim], "data_offsets": [0, end]}
        header = json.dumps({"ids": ids, "rows": rows}).encode()
        with path.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + end + 8 * count)
    table = open_source(format, path).table("t" if format == "numpy" else "rows")
    tracemalloc.start()
    try:
        seen = sum(len(ids) for ids, _ in table.blocks())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == count and table.ids == "keys" and most < 4 * BLOCK_BYTES


def test_each_step_tells_how_many_of_its_rows_are_done(tmp_path: Path) -> None:
    numpy_table(tmp_path / "t", floats(70_000, 1))
    told: list[tuple[str, int, int]] = []
    import_into(tmp_path / "out", "numpy", tmp_path / "t", {"user": "t"}, progress=lambda *step: told.append(step))
    for step in ("read", "verify"):
        done = [(rows, total) for name, rows, total in told if name == step]
        assert sum(rows for rows, _ in done) == 70_000 and {total for _, total in done} == {70_000} and len(done) > 1
    assert [name for name, _, _ in told] == sorted(name for name, _, _ in told)
