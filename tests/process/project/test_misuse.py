"""What a caller, a file or a machine can do wrong ends in an error that says so, and leaves what was there as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia import _core
from persia.batch import IDTypeFeature, PersiaBatch
from persia.errors import CorruptFile, FeatureError, InvalidInput, TooLarge
from tests.support.places import ROOT
from tests.support.routing_reference import assemble


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def table_of(rows: int, dim: int = 4) -> _core.Table:
    builder = _core.TableBuilder()
    builder.put(np.arange(rows, dtype=np.uint64), np.ones((rows, dim), np.float32))
    return _core.Table(builder)


def layer_of(*signs: int) -> _core.Layer:
    layer = _core.Layer()
    layer.put(ids(*signs), np.zeros((len(signs), 4), np.float32))
    return layer


def plan_of(sample: np.ndarray, rounds: int = 0) -> _core.Plan:
    batch = PersiaBatch([IDTypeFeature("a", [sample, sample])])
    slots = _core.Slots([_core.Slot("a", 4, hash_stack_rounds=rounds, hash_stack_size=1000)], 8)
    return _core.make_plan(_core.decode_batch(batch.to_bytes()), slots, 1)


def in_another_process(script: str) -> None:
    """For what a limit on memory may leave in no state to go on."""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stdout + run.stderr


# Files


@pytest.mark.parametrize("read", [_core.EmbReader, _core.IncReader, _core.summarize_emb])
def test_a_pipe_is_refused_at_once(read: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(OSError, match="Invalid argument"):
        read(tmp_path / "x")


def test_a_path_that_is_not_utf8_comes_back_as_it_was(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.emb")
    with pytest.raises(FileNotFoundError) as missing:
        _core.EmbReader(path)
    assert missing.value.filename == path
    _core.write_emb(path, [])
    assert _core.EmbReader(path).path == path
    _core.write_inc(path, [], 0)
    assert _core.IncReader(path).path == path
    with pytest.raises(CorruptFile) as corrupt:
        _core.EmbReader(path)
    assert corrupt.value.file == path


@pytest.mark.parametrize("blocks", [[1], ["ab"], [[ids(1), np.ones((1, 1), np.float32)]], [(ids(1),)]])
def test_blocks_that_are_no_pairs_are_refused(blocks: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected pairs \(signs, rows\)"):
        _core.write_emb(tmp_path / "x.emb", blocks)


# The table


@pytest.mark.parametrize("seconds", [1e10, 1e300, float("inf")])
def test_waiting_without_end_does_wait(seconds: float) -> None:
    table = table_of(1)
    snapshot = table.pin()
    table.publish(layer_of(0))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(table.wait_folded, seconds)
        assert table.wait_folded(float("nan")) is table.wait_folded(-1) is False
        del snapshot
        assert waiting.result(60)


def test_a_signal_ends_waiting() -> None:
    class Signalled(Exception):
        pass

    def handle(*_: object) -> None:
        raise Signalled

    table = table_of(1)
    snapshot = table.pin()
    table.publish(layer_of(0))
    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(Signalled):
            table.wait_folded(60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert snapshot.version == 0


def test_a_table_without_a_thread_leaves_the_rows_to_the_builder() -> None:
    in_another_process("""if True:
        import numpy as np
        from tests.support.limits import memory_budget
        from persia._core import Table, TableBuilder
        from persia.errors import TooLarge
        builder = TableBuilder()
        builder.put(np.arange(9, dtype=np.uint64), np.ones((9, 4), np.float32))
        with memory_budget(1):  # less than a stack
            try:
                Table(builder)
            except TooLarge as error:
                assert "expected a thread" in str(error)
            else:
                raise AssertionError("made")
        assert builder.rows == 9
        assert Table(builder).status().base_rows == 9
    """)


def test_a_fold_without_memory_fails_and_comes_right_later() -> None:
    in_another_process("""if True:
        import numpy as np
        from tests.support.limits import fail_a_fold
        from persia._core import Layer, Table, TableBuilder
        signs = np.arange(100_000, dtype=np.uint64)
        more = Layer()
        more.put(signs[:1], np.zeros((1, 4), np.float32))
        table = Table(TableBuilder())
        fail_a_fold(table, table.publish, signs)
        assert table.status().layers == 1
        assert (table.pin().rows(signs, 4)[0] == 1).all()
        table.publish(more)
        assert table.wait_folded(60)
        assert table.status().fold_error is None
        assert table.pin().rows(signs, 4)[0].sum() == 4 * (len(signs) - 1)
    """)


def test_a_fold_without_memory_leaves_earlier_epochs_as_they_are() -> None:
    in_another_process("""if True:
        import numpy as np
        from tests.support.limits import fail_a_fold
        from persia._core import Layer, Table, TableBuilder
        signs = np.arange(100_000, dtype=np.uint64)
        table = Table(TableBuilder())
        first = Layer()
        first.put(signs[::2].copy(), np.full((len(signs) // 2, 4), 3, np.float32))
        table.begin_epoch(first, 1, 0)
        assert table.wait_folded(60)
        fail_a_fold(table, lambda layer: table.begin_epoch(layer, 2, 1), signs)
        assert table.status().layers == 1
        for after in range(2):
            assert (table.pin_epoch(2).rows(signs, 4)[0] == 1).all()
            assert table.pin_epoch(1).rows(signs, 4)[0].sum() == 12 * (len(signs) // 2)
            if not after:
                table.begin_epoch(Layer(), 3, 2)
                assert table.wait_folded(60)
        assert table.status().fold_error is None and table.status().epoch_low == 1
    """)


# Routing


def test_positions_of_all_rounds_fit_into_32_bits() -> None:
    with pytest.raises(FeatureError, match="'a': expected at most 16384 places of ids with 65535 hash stack rounds, got 80000"):
        plan_of(np.full(40_000, 7, np.uint64), rounds=65_535)  # 2^32 and some


def test_the_numbers_of_an_answer_fit_into_64_bits() -> None:
    parts = np.tile(np.array([0, 1, 1 << 15, 1 << 31, 0, 0], np.uint32), 1 << 18)  # 2^64, which is 0
    with pytest.raises(TooLarge, match="got a request for at least"):
        _core.answer(table_of(1).pin(), parts.tobytes(), b"", b"", b"", 2**64 - 1)


def test_a_request_that_changes_meanwhile_is_answered_as_it_was() -> None:
    n = 50_000
    snapshot = table_of(n).pin()
    parts, signs = np.array([[0, 1, 4, 1, n, n]], np.uint32), np.arange(n, dtype=np.uint64)
    counts, samples = np.ones(n, np.uint32), np.zeros(n, np.uint16)
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            samples[-1] = 65_535
            samples[-1] = 0

    with ThreadPoolExecutor() as pool:
        changing = pool.submit(change)
        for _ in range(100):
            try:
                numbers, _, _, _ = _core.answer(snapshot, parts.data, signs.data, counts.data, samples.data, 4)
            except InvalidInput as error:
                assert str(error) == "expected samples below 1, got 65535"
            else:
                assert numbers.tolist() == [n] * 4
        done.set()
        changing.result()


def test_an_empty_answer_is_not_a_missing_one() -> None:
    plan = plan_of(ids(1, 2))
    assert assemble(plan, [None])[0].shape == (2, 4)
    with pytest.raises(InvalidInput, match="expected an answer of 8 numbers from shard 0, got 0"):
        assemble(plan, [np.zeros(0, np.float32)])


def test_empty_samples_cannot_ask_for_more_memory_than_the_limit() -> None:
    slots = _core.Slots([_core.Slot(f"f{i}", 64, sample_fixed_size=1000, summation=False) for i in range(3)], 8)
    empty = np.zeros(65_001, np.int64)
    features = [IDTypeFeature(f"f{i}", np.zeros(0, np.uint64), empty) for i in range(3)]
    with pytest.raises(TooLarge, match="numbers in all tensors of a batch, got more at 'f0'"):
        _core.make_plan(_core.decode_batch(PersiaBatch(features).to_bytes()), slots, 1)


def test_room_that_does_not_fit_the_tensors() -> None:
    plan = plan_of(ids(1, 2))
    answers = [np.zeros(request.answer_size, np.float32) for request in plan.requests]
    room, _ = plan.room()
    for wrong in (room[:-1], np.zeros(len(room) + 1, np.float16), np.zeros(len(room), np.float32)):
        with pytest.raises(InvalidInput, match=f"expected room for {len(room)} numbers in f16, got {len(wrong)} of"):
            plan.assemble(answers, wrong)  # type: ignore[arg-type]
    read_only = room.copy()
    read_only.flags.writeable = False
    with pytest.raises(TypeError):
        plan.assemble(answers, read_only)
