"""Tables from several Python threads at a time, and objects that have given their rows away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from persia import _core
from persia.config import parse_embedding_config
from persia.errors import InvalidInput
from persia.routing import make_slots
from persia.signs import signs_of
from tests.support.golden import GOLDEN
from tests.support.reference import read_emb
from tests.support.routing_reference import ask, encode

N, DIM, VERSIONS, READERS = 3_000, 8, 150, 3
SIGNS = np.arange(N, dtype=np.uint64) * np.uint64(7919)


def constant(value: float, n: int = N) -> np.ndarray:
    return np.full((n, DIM), value, np.float32)


def layer_of(signs: np.ndarray, value: float, storage: str = "f32") -> _core.Layer:
    layer = _core.Layer(storage)
    layer.put(signs, constant(value, len(signs)))
    return layer


def table_of(signs: np.ndarray = SIGNS, value: float = 1, capacity: int = 0) -> _core.Table:
    builder = _core.TableBuilder("f32", capacity)
    builder.put(signs, constant(value, len(signs)))
    return _core.Table(builder)


def in_threads(work: Callable[[], None], meanwhile: Callable[[], None]) -> None:
    """Runs `work` in READERS threads, all of them past their first round, and `meanwhile` here; what fails there fails here."""
    with ThreadPoolExecutor(READERS) as pool:
        running = [pool.submit(work) for _ in range(READERS)]
        try:
            meanwhile()
        finally:
            for future in running:
                future.result()


def test_every_answer_is_of_one_version() -> None:
    """Version v writes v + 1 into all rows, so an answer that mixes two versions is not constant."""
    table = table_of()
    finished = threading.Event()
    started = threading.Barrier(READERS + 1, timeout=60)
    config = parse_embedding_config(f"slots_config: {{a: {{dim: {DIM}}}}}")
    plan = _core.make_plan(encode({"a": [range(500), range(500)]}), make_slots(config), 1)
    request = plan.requests[0]
    pooled_signs = signs_of(np.arange(500), config.slots["a"])[0]

    def read() -> None:
        started.wait()
        last, done = 0, False
        while not done:
            done = finished.is_set()  # so that the last version is read once
            snapshot = table.pin()
            assert snapshot.version >= last
            last = snapshot.version
            rows, absent, wrong_dim = snapshot.rows(SIGNS, DIM)
            assert (absent, wrong_dim) == (0, 0)
            assert (rows == last + 1).all()
            if last:
                assert (ask(snapshot, request)[0] == 500 * (last + 1)).all()
            assert len(snapshot.signs()) == N + (len(pooled_signs) if last else 0)
        assert last == VERSIONS

    def publish() -> None:
        started.wait()
        try:
            both = np.concatenate([SIGNS, pooled_signs])
            for version in range(1, VERSIONS + 1):
                assert table.publish(layer_of(both, version + 1)) == version
        finally:
            finished.set()

    in_threads(read, publish)
    assert table.wait_folded(60)
    assert table.status().base_rows == N + len(pooled_signs)


def test_rows_that_come_and_go_are_there_whole_or_not_at_all() -> None:
    """Deletions, new dims and evictions while others read; and a snapshot answers twice the same."""
    table = table_of(capacity=N // 2)
    finished = threading.Event()

    def read() -> None:
        done = False
        while not done:
            done = finished.is_set()
            snapshot = table.pin()
            rows, absent, wrong_dim = snapshot.rows(SIGNS, DIM)
            assert (rows == rows[:, :1]).all()
            assert np.count_nonzero(rows[:, 0] == 0) == absent + wrong_dim
            again = snapshot.rows(SIGNS, DIM)
            np.testing.assert_array_equal(rows, again[0])
            assert again[1:] == (absent, wrong_dim)
            assert absent == N - len(snapshot.signs())

    def publish() -> None:
        rng = np.random.default_rng(2)
        try:
            for version in range(VERSIONS):
                order = rng.permutation(SIGNS)
                layer = layer_of(order[:400], version + 2)
                layer.put(order[400:500], np.ones((100, 3), np.float32))
                layer.add_tombstones(order[500:800])
                table.publish(layer)
        finally:
            finished.set()

    in_threads(read, publish)
    assert table.wait_folded(60)
    assert table.status().base_rows <= N // 2


def test_files_loaded_by_several_threads_at_once() -> None:
    """Also each file twice at a time: the table is the same as from one thread."""
    files = sorted((GOLDEN / "mix" / "ckpt").glob("s*/*.emb"))
    assert len(files) > 1
    builder = _core.TableBuilder()
    with ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(builder.load_emb, files * 4))
    want = {row.sign: row for path in files for row in read_emb(path.read_bytes())[0]}
    assert sum(kept) == 4 * len(want)
    snapshot = _core.Table(builder).pin()
    assert sorted(snapshot.signs().tolist()) == sorted(want)
    for dim in {row.dim for row in want.values()}:
        rows = [row for row in want.values() if row.dim == dim]
        got, absent, wrong_dim = snapshot.rows(np.array([row.sign for row in rows], np.uint64), dim)
        assert (absent, wrong_dim) == (0, 0)
        np.testing.assert_array_equal(got, [np.frombuffer(row.values, "<f4", dim) for row in rows])


def test_layers_published_by_several_threads_all_count() -> None:
    table = table_of(SIGNS[:1])
    layers = [layer_of(part, 2) for part in np.array_split(SIGNS, 1_500)]
    with ThreadPoolExecutor(4) as pool:
        versions = [version for some in pool.map(lambda i: [*map(table.publish, layers[i::4])], range(4)) for version in some]
    assert sorted(versions) == list(range(1, 1_501))
    rows, absent, _ = table.pin().rows(SIGNS, DIM)
    assert absent == 0 and (rows == 2).all()


def test_a_builder_that_became_a_table() -> None:
    builder = _core.TableBuilder()
    builder.put(SIGNS, constant(1))
    table = _core.Table(builder)
    uses: list[Callable[[], object]] = [
        lambda: builder.rows,
        lambda: builder.bytes,
        lambda: builder.put(SIGNS, constant(2)),
        lambda: builder.reserve(5),
        lambda: builder.load_emb(sorted(GOLDEN.rglob("*.emb"))[0]),
        lambda: _core.Table(builder),
    ]
    for use in uses:
        with pytest.raises(InvalidInput, match="got one that has become a table"):
            use()
    assert builder.evicted == 0
    assert (table.pin().rows(SIGNS, DIM)[0] == 1).all()


def test_a_layer_that_was_published() -> None:
    table = table_of()
    layer = layer_of(SIGNS, 2)
    table.publish(layer)
    uses: list[Callable[[], object]] = [
        lambda: layer.size,
        lambda: layer.bytes,
        lambda: layer.put(SIGNS, constant(3)),
        lambda: layer.add_tombstones(SIGNS),
        lambda: layer.load_inc(sorted(GOLDEN.rglob("*.inc"))[0]),
        lambda: table.publish(layer),
    ]
    for use in uses:
        with pytest.raises(InvalidInput, match="a layer that is not published yet"):
            use()
    assert table.pin().version == 1


@pytest.mark.parametrize("storage", ["f16", "int8"])
def test_a_layer_of_another_storage(storage: str) -> None:
    table = table_of()
    layer = layer_of(SIGNS, 2, storage)
    with pytest.raises(InvalidInput, match="the table's row storage"):
        table.publish(layer)
    assert layer.size == N  # still its owner's
    assert table.status().version == 0
    assert (table.pin().rows(SIGNS, DIM)[0] == 1).all()
    with pytest.raises(InvalidInput, match="f32, f16, int8 or uint8, got f64"):
        _core.Layer("f64")


def test_a_packet_in_a_layer() -> None:
    table = table_of(SIGNS[:1])
    packet = sorted(GOLDEN.rglob("*.inc"))[0]
    reader = _core.IncReader(packet)
    signs = np.concatenate([block[0] for block in reader])
    layer = _core.Layer()
    assert layer.load_inc(packet) == (len(signs), reader.unix_seconds)
    shards = [_core.Layer().load_inc(packet, index, 3) for index in range(3)]
    assert sum(kept for kept, _ in shards) == len(signs) and {seconds for _, seconds in shards} == {reader.unix_seconds}
    table.publish(layer)
    assert set(table.pin().signs().tolist()) == {int(SIGNS[0]), *signs.tolist()}


def test_snapshots_outlive_their_table() -> None:
    table = table_of()
    pins = [table.pin()]
    for version in range(1, 13):
        table.publish(layer_of(SIGNS[version:], version + 1))
        pins.append(table.pin())
    del table
    for version, snapshot in enumerate(pins):
        rows, absent, _ = snapshot.rows(SIGNS, DIM)
        assert absent == 0
        np.testing.assert_array_equal(rows[:, 0], np.minimum(np.arange(N), version) + 1)
    del snapshot
    while pins:
        pins.pop(len(pins) // 2)
