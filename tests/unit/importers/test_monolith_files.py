"""Monolith's hash tables, written by the layout of docs/formats/other-systems.md: a table for each slot of ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persia.errors import CorruptFile, InvalidInput
from persia.importers.formats import open_source
from persia.importers.source import BLOCK_ROWS
from tests.support.imported import all_rows, config_of, expected_rows, import_into
from tests.support.raw_dumps import write_monolith
from tests.support.written import read_checkpoint


def fid(slot: int, number: int) -> int:
    return slot << 48 | number


USERS = [(fid(7, 2**47 + i), [i + 0.25, -i]) for i in range(5)]
ITEMS = [(fid(0x7FFF, i), [i, 2.0, -1e-3]) for i in range(3)]


def write(path: Path) -> Path:
    return write_monolith(path, [USERS[:2] + ITEMS[:1] + USERS[2:], ITEMS[1:]])


def test_each_slot_is_a_table_of_whole_ids(tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    config = config_of({"user": 2, "item": 3})
    report = import_into(tmp_path / "out", "monolith", source, {"user": "slot_7", "item": "slot_32767"}, config=config)
    pairs = {slot: ([id for id, _ in rows], [row for _, row in rows]) for slot, rows in (("user", USERS), ("item", ITEMS))}
    assert read_checkpoint(tmp_path / "out") == expected_rows(config, pairs)
    assert [(table.rows, table.ids) for table in report.tables] == [(5, "keys"), (3, "keys")]


def test_several_hash_tables_have_names_of_their_own(tmp_path: Path) -> None:
    write_monolith(tmp_path, [USERS], "one-10")
    write_monolith(tmp_path, [USERS[:1], []], "other")
    (tmp_path / "model.ckpt-1.data-00000-of-00001").write_bytes(b"a checkpoint of TensorFlow")
    source = open_source("monolith", tmp_path)
    assert {name: table.rows for name, table in source.tables.items()} == {"one-10.slot_7": 5, "other.slot_7": 1}


def test_a_flipped_bit_of_any_byte_and_any_cut_are_found(tmp_path: Path) -> None:
    file = write(tmp_path) / "table-00000-of-00002"
    whole = file.read_bytes()
    ends = {0, len(whole)}
    for _ in range(len(USERS) + 1):
        at = max(ends - {len(whole)})
        ends.add(at + 16 + int.from_bytes(whole[at : at + 8], "little"))
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        for data in (bytes(flipped), whole[:place]):
            if len(data) in ends and data == whole[: len(data)]:
                continue  # whole records that are missing: nothing says how many there were
            file.write_bytes(data)
            with pytest.raises(CorruptFile) as caught:
                open_source("monolith", tmp_path)
            assert caught.value.file == str(file) and caught.value.byte <= len(whole)


def test_half_a_source_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "table-00000-of-00002").unlink()
    with pytest.raises(CorruptFile, match=r"expected 2 files of `table`, got 1: 00000 is missing"):
        open_source("monolith", tmp_path)
    with pytest.raises(InvalidInput, match=r"named NAME-0000I-of-0000N; there are none"):
        open_source("monolith", tmp_path / "table-00001-of-00002")


def test_rows_of_one_slot_have_one_dim(tmp_path: Path) -> None:
    write_monolith(tmp_path, [[USERS[0], (fid(7, 1), [1.0])]])
    with pytest.raises(CorruptFile, match=r"at byte \d+: expected 2 numbers in a row of slot 7, got 1"):
        open_source("monolith", tmp_path)


def test_a_record_of_something_else(tmp_path: Path) -> None:
    write_monolith(tmp_path, [[(fid(7, 1), [])]])
    with pytest.raises(CorruptFile, match=r"at byte 0: expected an EntryDump with an id and numbers, got 0901"):
        open_source("monolith", tmp_path)


def test_an_id_twice_is_refused_although_it_is_in_two_files(tmp_path: Path) -> None:
    write_monolith(tmp_path / "t", [USERS, USERS[:1]])
    with pytest.raises(InvalidInput, match=f"two rows for the key {USERS[0][0]}"):
        import_into(tmp_path / "out", "monolith", tmp_path / "t", {"user": "slot_7"})


def test_blocks_are_bounded_and_in_the_order_of_the_files(tmp_path: Path) -> None:
    count = BLOCK_ROWS + 3
    write_monolith(tmp_path, [[(fid(1, i), [float(i)]) for i in range(count)], [(fid(1, count), [-1.0])]])
    table = open_source("monolith", tmp_path).table("slot_1")
    assert [len(ids) for ids, _ in table.blocks()] == [BLOCK_ROWS, 3, 1]
    ids, rows = all_rows(table)
    assert (ids == np.arange(count + 1, dtype=np.uint64) + np.uint64(fid(1, 0))).all()
    assert (rows[:, 0] == [*range(count), -1]).all()
