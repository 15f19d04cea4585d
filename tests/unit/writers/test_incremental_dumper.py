"""An IncrementalDumper: when it writes, that it loses nothing, and that nobody sees half of a packet."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persia.errors import InvalidInput
from persia.writers import IncrementalDumper, packet_files, verify_packet
from persia.writers.row_buffer import Change, RowBuffer
from tests.support.examples import examples
from tests.support.stepped_clock import SteppedClock
from tests.support.written import Block, block, packets_in, read_packet, replay, rows_of


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def dumper(tmp_path: Path, clock: SteppedClock) -> Iterator[IncrementalDumper]:
    with IncrementalDumper(tmp_path, buffer_size=100, seconds=10, clock=clock) as dumper:
        yield dumper


def refuse(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_buffer_is_written_by_the_commit_that_fills_it(dumper: IncrementalDumper, tmp_path: Path) -> None:
    dumper.commit(*block(range(99)))
    dumper.commit(*block(range(50)))  # of known signs, so there are still 99
    assert packets_in(tmp_path / "s0") == []
    dumper.commit(*block([99]))
    (packet,) = packets_in(tmp_path / "s0")
    assert read_packet(packet) == rows_of([block(range(100))])


def test_fault_16_the_thread_writes_when_the_oldest_commit_is_old_enough(
    dumper: IncrementalDumper, clock: SteppedClock, tmp_path: Path
) -> None:
    """Persia writes only when its buffer is full, however old the rows in it; here also when they are old enough."""
    clock.advance(100)
    dumper.commit(*block([1]))
    clock.advance(9)
    dumper.commit(*block([2]))
    assert packets_in(tmp_path / "s0") == []
    clock.advance(1)
    assert [read_packet(packet) for packet in packets_in(tmp_path / "s0")] == [rows_of([block([1, 2])])]
    dumper.commit(*block([3]))
    clock.advance(9)
    assert len(packets_in(tmp_path / "s0")) == 1
    clock.advance(1)
    assert len(packets_in(tmp_path / "s0")) == 2
    clock.advance(100)
    assert len(packets_in(tmp_path / "s0")) == 2


def test_the_real_clock_flushes_too(tmp_path: Path) -> None:
    written = threading.Event()

    class Watched(IncrementalDumper):
        def _flush(self, least: int) -> Path | None:
            packet = super()._flush(least)
            if packet:
                written.set()
            return packet

    with Watched(tmp_path, seconds=0.001) as dumper:
        dumper.commit(*block([1]))
        assert written.wait(30)
        assert replay(tmp_path / "s0") == rows_of([block([1])])


def test_fault_16_flush_and_close_write_the_rest(tmp_path: Path, clock: SteppedClock) -> None:
    """Persia loses what is in its buffer when it ends; here close() writes it."""
    dumper = IncrementalDumper(tmp_path, clock=clock)
    assert dumper.flush() is None
    dumper.commit(*block([1]))
    assert dumper.flush() == packets_in(tmp_path / "s0")[0]
    dumper.commit(*block([2]))
    dumper.close()
    dumper.close()
    assert replay(tmp_path / "s0") == rows_of([block([1, 2])])
    with pytest.raises(InvalidInput, match="closed"):
        dumper.commit(*block([3]))


def test_the_rest_is_written_when_the_training_fails(tmp_path: Path, clock: SteppedClock) -> None:
    with pytest.raises(ZeroDivisionError), IncrementalDumper(tmp_path, clock=clock) as dumper:
        dumper.commit(*block([1]))
        raise ZeroDivisionError
    assert replay(tmp_path / "s0") == rows_of([block([1])])


def test_a_trainer_may_go_on_to_use_its_arrays(dumper: IncrementalDumper) -> None:
    signs, rows = block([1, 2])
    dumper.commit(signs, rows)
    expected = rows_of([(signs, rows)])
    signs[:], rows[:] = 9, 9
    packet = dumper.flush()
    assert packet and read_packet(packet) == expected


@pytest.mark.parametrize(
    ("signs", "rows", "message"),
    [
        (np.zeros(1, np.int64), np.zeros((1, 1), "f"), r"expected signs \(n\) of uint64, got \(1,\) of int64"),
        (np.zeros((1, 1), np.uint64), np.zeros((1, 1), "f"), r"got \(1, 1\) of uint64"),
        (np.zeros(1, np.uint64), np.zeros((1, 1), "d"), r"expected rows \(n, dim\) of float32, got \(1, 1\) of float64"),
        (np.zeros(1, np.uint64), np.zeros(1, "f"), r"got \(1,\) of float32"),
        (np.zeros(1, np.uint64), np.zeros((2, 1), "f"), "expected a row for each of 1 signs, got 2"),
        (np.zeros(1, np.uint64), np.zeros((1, 0), "f"), "expected a dim from 1 to 65535, got 0"),
    ],
)
def test_wrong_arrays_are_refused(dumper: IncrementalDumper, signs: Any, rows: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        dumper.commit(signs, rows)
    assert dumper.flush() is None


@pytest.mark.parametrize("numbers", [{"shard_index": -1}, {"buffer_size": 0}, {"seconds": 0}, {"seconds": float("nan")}])
def test_wrong_numbers_are_refused(numbers: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected shard_index"):
        IncrementalDumper(tmp_path, **numbers)


STEPS = [(packet_files, "write_inc"), (os, "fsync"), (os, "rename"), (os, "replace"), (packet_files, "describe_file")]


@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_fault_16_an_error_keeps_the_rows(
    owner: Any, name: str, dumper: IncrementalDumper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Persia empties its buffer before it knows that the rows are written; here they stay until they are."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, refuse)
        with pytest.raises(OSError, match="No space left"):
            dumper.commit(*block(range(100)))
        assert packets_in(tmp_path / "s0") == []
        with pytest.raises(OSError, match="No space left"):  # the rows of a commit that raises are in the buffer, too
            dumper.commit(*block([5, 200], value=7))
    dumper.flush()
    (packet,) = packets_in(tmp_path / "s0")
    assert read_packet(packet) == rows_of([block(range(100)), block([5, 200], value=7)])
    assert verify_packet(packet).complete


def test_what_is_committed_while_a_packet_fails_is_newer(
    dumper: IncrementalDumper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit_and_refuse(*_: Any) -> Any:
        dumper.commit(*block([1], value=2))
        refuse()

    dumper.commit(*block([1, 2], value=1))
    with monkeypatch.context() as patch:
        patch.setattr(packet_files, "write_inc", commit_and_refuse)
        with pytest.raises(OSError, match="No space left"):
            dumper.flush()
    dumper.flush()
    assert replay(tmp_path / "s0") == rows_of([block([1], value=2), block([2], value=1)])


def test_an_error_of_the_thread_is_raised_by_the_next_commit_and_tried_again(
    dumper: IncrementalDumper, clock: SteppedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumper.commit(*block([1]))
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        clock.advance(10)
        with pytest.raises(OSError, match="No space left"):
            dumper.commit(*block([2]))
        dumper.commit(*block([3]))  # it is raised once
        clock.advance(10)
    clock.advance(9)
    assert packets_in(tmp_path / "s0") == []
    clock.advance(1)
    assert replay(tmp_path / "s0") == rows_of([block([1, 2, 3])])
    dumper.commit(*block([4]))  # what failed is written by now


def test_the_thread_outlives_any_error(
    dumper: IncrementalDumper, clock: SteppedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError

    dumper.commit(*block([1]))
    with monkeypatch.context() as patch:
        patch.setattr(packet_files, "describe_file", fail)
        clock.advance(10)
    clock.advance(10)
    assert replay(tmp_path / "s0") == rows_of([block([1])])


def test_a_failed_close_can_be_tried_again(tmp_path: Path, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    dumper = IncrementalDumper(tmp_path, clock=clock)
    dumper.commit(*block([1]))
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(OSError, match="No space left"):
            dumper.close()
    dumper.commit(*block([2]))
    dumper.close()
    assert replay(tmp_path / "s0") == rows_of([block([1, 2])])


def test_threads_may_commit_together(tmp_path: Path, clock: SteppedClock) -> None:
    with IncrementalDumper(tmp_path, buffer_size=500, clock=clock) as dumper:

        def commit(start: int) -> None:
            for sign in range(start, start + 1000, 10):
                dumper.commit(*block(range(sign, sign + 10), value=start))

        threads = [threading.Thread(target=commit, args=(1000 * k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert replay(tmp_path / "s0") == rows_of(block(range(1000 * k, 1000 * k + 1000), value=1000 * k) for k in range(4))


commits = st.lists(
    st.tuples(
        st.lists(st.integers(0, 30) | st.integers(0, 2**64 - 1), max_size=20),
        st.integers(1, 3),
        st.integers(0, 99),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=commits, buffer_size=st.integers(1, 40))
def test_packets_in_order_are_the_commits_in_order(
    commits: list[tuple[list[int], int, int, bool]], buffer_size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("inc")
    blocks: list[Block] = []
    with IncrementalDumper(directory, buffer_size=buffer_size, clock=SteppedClock()) as dumper:
        for signs, dim, value, flush in commits:
            blocks.append((np.array(signs, np.uint64), (value + np.arange(len(signs) * dim)).reshape(-1, dim).astype("f")))
            dumper.commit(*blocks[-1])
            assert len(dumper._buffer) < buffer_size
            if flush:
                dumper.flush()
    assert replay(directory / "s0") == rows_of(blocks)
    assert all(verify_packet(packet).complete for packet in packets_in(directory / "s0"))


def rows_in(buffer: RowBuffer) -> list[Block]:
    return [(change.signs, change.rows) for change in buffer.blocks() if change.rows is not None]


def test_the_buffer_may_be_looked_at_and_filled_further() -> None:
    buffer, given = RowBuffer(), []
    for value, signs in enumerate([range(10), range(5, 8), range(3, 20), range(4, 6)]):
        given.append(block(signs, value, dim=1 + value % 2))
        buffer.add(Change(*given[-1]))
        assert rows_of(rows_in(buffer)) == rows_of(given) and sum(map(len, buffer.blocks())) == len(buffer)


def test_the_buffer_forgets_rows_that_were_overwritten() -> None:
    buffer = RowBuffer()
    for value in range(1000):
        buffer.add(Change(*block(range(100), value=value)))
    assert len(buffer) == 100 and sum(map(len, buffer._blocks)) <= 2 * 100 + 4096
    assert rows_of(rows_in(buffer)) == rows_of([block(range(100), value=999)])
