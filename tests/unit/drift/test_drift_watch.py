"""The windows of workers: when they end, what is lost with a worker, and what a request pays."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persia import _core
from persia.drift.budget import Budget
from persia.drift.recorder import Recorder, Windows
from persia.drift.sketching import Texts, add_batch
from persia.drift.state import StateDirectory, models_of, windows_of
from persia.drift.watch import DriftWatch
from persia.drift.window import Window
from persia.errors import NotFound
from tests.support.drift_streams import SAMPLES, USUAL
from tests.support.servers import wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """What a worker does, by a clock that a test moves."""

    def __init__(self, directory: StateDirectory, clock: Clock, seed: int = 1, **windows: Any) -> None:
        self.recorder = Recorder(directory, Windows(**windows), seed=seed, now=clock)
        self.generator = np.random.default_rng(seed)

    def see(self, batches: int) -> None:
        for _ in range(batches):
            self.recorder.add(self._add)
            if self.recorder.is_over():
                self.recorder.end_window(SAMPLES, 0)

    def _add(self, window: Window, generator: np.random.Generator) -> None:
        add_batch(window, _core.decode_batch(USUAL.data(self.generator)), (), {}, generator)


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state", "ctr/a b", "1.0")


def test_windows_of_the_clock_are_the_same_for_all_workers(directory: StateDirectory) -> None:
    clock = Clock()
    workers = [Worker(directory, clock, seed, seconds=600) for seed in (1, 2)]
    clock.now += 700
    for batches in (2, 3):
        for worker in workers:
            worker.recorder.end_window(0, 0)
            worker.see(batches)
        clock.now += 600
    for worker in workers:
        assert worker.recorder.is_over()
        worker.recorder.end_window(5 * SAMPLES, 2)
    assert [window.samples for window in windows_of(directory.read().pieces)] == [4 * SAMPLES, 6 * SAMPLES]
    last = windows_of(directory.read().pieces)[-1]
    assert (last.seen, last.dropped, last.begin % 600) == (10 * SAMPLES, 4, 0)


def test_windows_by_count_are_put_together_until_there_are_enough(directory: StateDirectory) -> None:
    clock = Clock()
    worker = Worker(directory, clock, samples=300)
    worker.see(7)
    worker.recorder.end_window(SAMPLES, 0)  # it is stopped
    clock.now += 10
    Worker(directory, clock, 2, samples=300).see(3)
    assert [window.samples for window in windows_of(directory.read().pieces)] == [300, 300, 400]


def test_a_restart_loses_nothing_that_was_written(directory: StateDirectory) -> None:
    clock = Clock()
    first = Worker(directory, clock, seconds=600)
    first.see(2)
    clock.now += 600
    first.recorder.end_window(0, 0)
    first.see(4)  # and is killed
    clock.now += 60
    second = Worker(directory, clock, seconds=600)
    second.see(1)
    clock.now += 600
    second.recorder.end_window(0, 0)
    windows = windows_of(directory.read().pieces)
    assert [window.samples for window in windows] == [2 * SAMPLES, SAMPLES]
    assert windows[0].end <= windows[1].begin


def test_broken_files_are_named_and_the_others_are_read(directory: StateDirectory) -> None:
    worker = Worker(directory, Clock(), samples=100)
    worker.see(3)
    files = sorted(directory.path.glob("window-*"))
    files[0].write_bytes(files[0].read_bytes()[:-10])
    files[1].write_bytes(b"")
    read = directory.read()
    assert len(read.pieces) == 1
    assert [problem.file for problem in read.problems] == [str(path) for path in files[:2]]
    assert "the checksum of what follows" in str(read.problems[0])


def test_the_oldest_windows_make_room(directory: StateDirectory) -> None:
    worker = Worker(directory, Clock(), samples=100)
    worker.see(1)
    (first,) = directory.path.glob("window-*")
    (directory.path / ".window-1.drift.1-p0.tmp").write_bytes(b"half")
    size = first.stat().st_size
    worker = Worker(directory, Clock(), 2, samples=100, history_bytes=round(3.5 * size))
    worker.see(12)
    left = list(directory.path.glob("window-*"))
    assert 2 <= len(left) <= 4
    assert first not in left


def test_what_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("no directory")
    worker = Worker(StateDirectory(tmp_path / "state", "ctr", "1.0"), Clock(), samples=100)
    with caplog.at_level(logging.ERROR):
        worker.see(3)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "was not written" in caplog.text


def test_names_of_models_are_those_of_directories_again(directory: StateDirectory, tmp_path: Path) -> None:
    Worker(directory, Clock(), samples=100).see(1)
    assert [(each.model, each.version) for each in models_of(tmp_path / "state")] == [("ctr/a b", "1.0")]
    with pytest.raises(NotFound, match="expected a directory that handlers with the setting `drift_state` write to"):
        models_of(tmp_path / "nowhere")


class StuckRecorder(Recorder):
    """It takes nothing before it is let go."""

    def __init__(self, directory: StateDirectory) -> None:
        self.busy, self.let_go = threading.Event(), threading.Event()
        super().__init__(directory, Windows())

    def add(self, work: Any) -> None:
        self.busy.set()
        assert self.let_go.wait(60)
        super().add(work)


def test_a_request_never_waits_and_what_finds_no_room_is_counted(directory: StateDirectory) -> None:
    recorder = StuckRecorder(directory)
    watch = DriftWatch(recorder, Budget(1))
    assert watch.wants(1)
    watch.saw_texts(["a"], lambda: Texts([[1, 2]]))
    assert recorder.busy.wait(60)
    for _ in range(20):  # the queue has room for 16
        assert watch.wants(2)
        watch.saw_texts(["a", "a"], lambda: Texts([[1, 2], [3]]))
    recorder.let_go.set()
    watch.close()
    watch.close()
    (window,) = windows_of(directory.read().pieces)
    assert (window.seen, window.samples, window.dropped) == (41, 33, 4)


def test_a_batch_that_cannot_be_sketched_costs_itself_alone(
    directory: StateDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    watch = DriftWatch(Recorder(directory, Windows()), Budget(1))
    assert watch.wants(1)
    watch.saw_texts(["a"], lambda: Texts([[1, 2]], vectors=np.zeros(1)))
    assert watch.wants(1)
    watch.saw_texts(["a"], lambda: Texts([[1, 2]]))
    watch.close()
    (window,) = windows_of(directory.read().pieces)
    assert window.samples == 1
    assert "a batch was not sketched" in caplog.text


def test_beyond_its_budget_a_request_is_only_counted_until_the_thread_opens_it_again(directory: StateDirectory) -> None:
    clock, spent = Clock(), Clock()
    watch = DriftWatch(Recorder(directory, Windows()), Budget(0.5, clock, spent))

    def costly() -> Texts:
        spent.now += 0.11  # of the 0.1 that are there
        return Texts([[1, 2]])

    asked = 1
    assert watch.wants(1)
    watch.saw_texts(["a"], costly)

    def answer(wanted: bool) -> Callable[[], bool]:
        def is_answer() -> bool:
            nonlocal asked
            asked += 1
            return watch.wants(1) is wanted

        return is_answer

    wait_until(answer(False), "the watch is shut")
    clock.now += 1
    wait_until(answer(True), "the watch is open")
    watch.close()
    (window,) = windows_of(directory.read().pieces)
    assert (window.seen, window.samples, window.dropped) == (asked, 1, 0)


def test_beyond_its_share_of_a_core_nothing_is_sketched() -> None:
    clock, spent = Clock(), Clock()
    budget = Budget(0.02, clock, spent)
    done = 0
    for _ in range(1000):
        clock.now += 0.01
        set_aside = budget.take()
        if set_aside is not None:
            with budget.spending(set_aside):
                spent.now += 0.005
            done += 1
    assert done * 0.005 == pytest.approx(0.02 * 10 + 0.1, abs=0.01)


def test_what_many_requests_set_aside_at_once_is_no_more_than_there_is() -> None:
    clock, spent = Clock(), Clock()
    budget = Budget(0.02, clock, spent)
    for _ in range(50):  # what a piece of work takes is learnt
        clock.now += 10
        with budget.spending(budget.take()):
            spent.now += 0.01
    clock.now += 10
    taken = [budget.take() for _ in range(100)]
    assert sum(set_aside is not None for set_aside in taken) == pytest.approx(10, abs=1)
    for set_aside in taken:
        budget.give_back(set_aside or 0)
    assert budget.take() is not None
