"""The sign table through its bindings: what Python may rely on. Its behaviour under load is the native tests' matter."""

from __future__ import annotations

import gc
import struct
from pathlib import Path

import numpy as np
import pytest

from persia._core import Batch, Layer, Slot, Slots, Table, TableBuilder, answer, decode_batch, make_plan, write_emb, write_inc
from persia.batch import IDTypeFeature, PersiaBatch
from persia.errors import CorruptFile, FeatureError, InvalidInput, TooLarge
from tests.support.routing_reference import assemble


def signs_of(*signs: int) -> np.ndarray:
    return np.array(signs, np.uint64)


def rows_of(*values: float) -> np.ndarray:
    return np.repeat(np.array(values, np.float32)[:, None], 4, axis=1)


def table_of(signs: np.ndarray, rows: np.ndarray) -> Table:
    builder = TableBuilder()
    assert builder.put(signs, rows) == len(signs)
    return Table(builder)


def batch_of(*samples: list[int], name: str = "f") -> Batch:
    return decode_batch(PersiaBatch([IDTypeFeature(name, [signs_of(*ids) for ids in samples])]).to_bytes())


def test_rows_and_what_is_not_there() -> None:
    snapshot = table_of(signs_of(1, 2), rows_of(0.5, 2.0)).pin()
    rows, absent, wrong_dim = snapshot.rows(signs_of(2, 3, 1), 4)
    assert rows[:, 3].tolist() == [2.0, 0.0, 0.5] and (absent, wrong_dim) == (1, 0)
    assert snapshot.rows(signs_of(1), 5)[1:] == (0, 1)
    with pytest.raises(InvalidInput, match="expected a dim of 1 to 65535, got 0"):
        snapshot.rows(signs_of(1), 0)


def test_what_is_returned_outlives_table_and_snapshot() -> None:
    table = table_of(signs_of(1, 2), rows_of(0.5, 2.0))
    snapshot = table.pin()
    del table
    gc.collect()
    rows, signs = snapshot.rows(signs_of(2, 1), 4)[0], snapshot.signs()
    del snapshot
    gc.collect()
    assert rows[:, 0].tolist() == [2.0, 0.5] and sorted(signs.tolist()) == [1, 2]


def test_a_layer_is_a_version_and_used_up() -> None:
    table = table_of(signs_of(1, 2), rows_of(0.5, 2.0))
    before, layer = table.pin(), Layer()
    layer.put(signs_of(2, 3), rows_of(7.0, 8.0))
    layer.add_tombstones(signs_of(1))
    assert layer.size == 3 and table.publish(layer) == 1
    assert table.pin().rows(signs_of(1, 2, 3), 4)[0][:, 0].tolist() == [0.0, 7.0, 8.0]
    assert before.rows(signs_of(1, 2, 3), 4)[0][:, 0].tolist() == [0.5, 2.0, 0.0]
    with pytest.raises(InvalidInput, match="expected a layer that is not published yet"):
        table.publish(layer)


@pytest.mark.parametrize("broken", ["no file", "header", "rows", "end"])
def test_nothing_of_a_broken_packet_can_be_published(tmp_path: Path, broken: str) -> None:
    good, bad = tmp_path / "0_0.inc", tmp_path / "0_1.inc"
    write_inc(good, [(signs_of(1), rows_of(9.0))], 5)
    write_inc(bad, [(signs_of(2, 3), rows_of(8.0, 8.0))], 5)
    raw = bad.read_bytes()
    if broken == "no file":
        bad.unlink()
    else:
        bad.write_bytes({"header": raw[:2], "rows": raw[:-20], "end": raw + bytes(8)}[broken])
    table, layer = table_of(signs_of(1), rows_of(0.5)), Layer()
    assert layer.load_inc(good) == (1, 5)
    with pytest.raises((CorruptFile, FileNotFoundError)):
        layer.load_inc(bad)
    with pytest.raises(InvalidInput, match="whose files could be read"):
        table.publish(layer)
    assert table.status().version == 0


def test_a_builder_is_used_up_by_its_table() -> None:
    builder = TableBuilder()
    Table(builder)
    for use in (lambda: Table(builder), lambda: builder.rows, lambda: builder.put(signs_of(1), rows_of(1.0))):
        with pytest.raises(InvalidInput, match="has become a table"):
            use()


def test_a_checkpoint_over_the_capacity_keeps_what_training_used_last(tmp_path: Path) -> None:
    signs = np.arange(1000, dtype=np.uint64)
    write_emb(tmp_path / "x.emb", [(signs, np.ones((1000, 4), np.float32))])  # in the order of use
    builder = TableBuilder(capacity=250)
    assert builder.load_emb(tmp_path / "x.emb") == 1000
    table = Table(builder)
    assert (table.status().base_rows, table.status().evicted) == (250, 750)
    assert sorted(table.pin().signs().tolist()) == list(range(750, 1000))


def test_a_request_may_lie_anywhere_and_is_checked() -> None:
    snapshot = table_of(signs_of(1, 2), rows_of(0.5, 2.0)).pin()
    # The sums of dim 4 for 2 samples: 2 signs in 3 places.
    parts, signs, counts = struct.pack("<6I", 0, 1, 4, 2, 2, 3), struct.pack("<2Q", 1, 2), struct.pack("<2I", 1, 2)
    samples = struct.pack("<3H", 0, 1, 1)
    unaligned = [memoryview(b"!" + column)[1:] for column in (parts, signs, counts, samples)]
    writable = [bytearray(column) for column in (parts, signs, counts, samples)]
    for columns in ([parts, signs, counts, samples], unaligned, writable):
        numbers, absent, wrong_dim, _ = answer(snapshot, columns[0], columns[1], columns[2], columns[3], 8)
        assert numbers.tolist() == [0.5] * 4 + [4.0] * 4 and (absent, wrong_dim) == (0, 0)
    with pytest.raises(TooLarge, match="at most 7 numbers"):
        answer(snapshot, parts, signs, counts, samples, max_numbers=7)
    with pytest.raises(InvalidInput, match="expected samples below 2, got 2"):
        answer(snapshot, parts, signs, counts, struct.pack("<3H", 0, 1, 2), max_numbers=8)
    with pytest.raises(InvalidInput, match="expected signs in items of 8 bytes, got 9 bytes"):
        answer(snapshot, parts, bytes(9), counts, samples, max_numbers=8)


def test_views_of_a_plan_keep_it_alive() -> None:
    slots = Slots([Slot("f", 4)], 8)
    (request,) = make_plan(batch_of([1, 2], [2]), slots, 1).requests
    gc.collect()
    signs, parts = request.signs, request.parts
    assert not signs.flags.writeable and not parts.flags.writeable
    del request
    gc.collect()
    assert sorted(signs.tolist()) == [1, 2] and parts.shape == (1, 6)


def test_a_missing_answer_is_zeros_and_a_wrong_one_an_error() -> None:
    plan = make_plan(batch_of([1, 2], [2]), Slots([Slot("f", 4)], 8), 1)
    (tensor,) = assemble(plan, [None])
    assert tensor.shape == (2, 4) and tensor.dtype == np.float16 and not tensor.any()
    with pytest.raises(InvalidInput, match="expected the answers of 1 shards, got 2"):
        assemble(plan, [None, None])
    with pytest.raises(InvalidInput, match="from shard 0, got 1"):
        assemble(plan, [np.zeros(1, np.float32)])


def test_an_unknown_feature_is_named() -> None:
    with pytest.raises(FeatureError, match=r"'nobody': the embedding config has no slot of this name$"):
        make_plan(batch_of([1], name="nobody"), Slots([Slot("f", 4)], 8), 1)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("contry", "country"),
        ("usr", "user"),
        ("usser", "user"),
        ("City", "city"),
        ("nobody", None),
        ("u" * 100_000, None),
        ("", None),
    ],
)
def test_an_unknown_feature_is_told_the_name_that_is_most_like_its_own(name: str, meant: str | None) -> None:
    slots = Slots([Slot(known, 4) for known in ("user", "city", "country")], 8)
    with pytest.raises(FeatureError) as caught:
        make_plan(batch_of([1], name=name), slots, 1)
    advice = "" if meant is None else f": did you mean '{meant}'?"
    assert str(caught.value).endswith(f"the embedding config has no slot of this name{advice}")


def test_a_builder_is_spoilt_by_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.emb"
    write_emb(path, [(np.arange(10_000, dtype=np.uint64), np.ones((10_000, 4), np.float32))])
    path.write_bytes(path.read_bytes()[:-1])
    builder = TableBuilder()
    with pytest.raises(CorruptFile):
        builder.load_emb(path)
    with pytest.raises(InvalidInput, match=r"got one that was spoilt: .*broken\.emb"):
        Table(builder)
