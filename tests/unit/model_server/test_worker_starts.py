"""When a worker's process is started again: at once, later and later, or not at all."""

from __future__ import annotations

import pytest

from persia.model_server import worker_starts
from persia.model_server.worker_starts import WorkerStarts
from tests.support.stepped_clock import SteppedClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SteppedClock:
    clock = SteppedClock()
    monkeypatch.setattr(worker_starts, "time", clock)
    return clock


def _outgrow(starts: WorkerStarts, clock: SteppedClock, after: float) -> float | None:
    """A start that loads the model, and goes beyond its memory limit so many seconds later."""
    starts.load()
    clock.elapsed += after
    starts.outgrow()
    return starts.next()


def test_failing_starts_come_later_and_later_until_the_worker_is_given_up(clock: SteppedClock) -> None:
    starts = WorkerStarts(retry_seconds=20)
    waits: list[float] = []
    while (seconds := starts.next()) is not None:
        waits.append(seconds)
        clock.elapsed += seconds
    assert waits == [0, 1, 1, 2, 3, 5, 8, 13]  # the last one ends after 33 seconds
    assert starts.failures == 9  # the first one, and one after each wait


def test_a_worker_that_had_loaded_is_started_at_once(clock: SteppedClock) -> None:
    starts = WorkerStarts(retry_seconds=20)
    for _ in range(3):
        starts.next()
    clock.elapsed = 1000
    starts.load()
    starts.end()
    assert [starts.next(), starts.next()] == [0, 1]


def test_one_that_outgrows_its_memory_limit_again_and_again_comes_later_and_later(clock: SteppedClock) -> None:
    starts = WorkerStarts(retry_seconds=1)
    assert [_outgrow(starts, clock, 5) for _ in range(13)] == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 55, 55]


def test_one_that_keeps_its_memory_limit_for_a_minute_has_mended_itself(clock: SteppedClock) -> None:
    starts = WorkerStarts(retry_seconds=1)
    assert [_outgrow(starts, clock, 59) for _ in range(4)] == [0, 1, 1, 2]
    assert [_outgrow(starts, clock, 60), _outgrow(starts, clock, 5)] == [0, 1]


def test_another_end_is_no_part_of_the_series(clock: SteppedClock) -> None:
    starts = WorkerStarts(retry_seconds=1)
    for _ in range(4):
        _outgrow(starts, clock, 5)
    starts.load()
    starts.end()
    assert starts.next() == 0
    assert _outgrow(starts, clock, 5) == 0
