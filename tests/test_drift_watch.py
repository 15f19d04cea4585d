"""The windows of workers: when they end, what is lost with a worker, and what a request pays."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drift_streams import SAMPLES, USUAL
from golden import arrays_of
from middlewares import Deployment
from torchserves import MIX, assert_close

from handlers.persia_handler import PersiaHandler
from persia import _core
from persia.drift.baseline import baseline_of_windows, write_baseline
from persia.drift.budget import Budget
from persia.drift.ids import Heads
from persia.drift.numbers import Numbers
from persia.drift.opening import open_watch
from persia.drift.recorder import Recorder, Windows
from persia.drift.sketching import Texts, add_batch
from persia.drift.state import StateDirectory, models_of, windows_of
from persia.drift.watch import DriftWatch
from persia.drift.window import Window
from persia.errors import ConfigError, NotFound
from persia.torchserve.settings import handler_settings

BATCH = MIX / "golden" / "batch16_0.bin"
SCORES = arrays_of(MIX / "golden" / "batch16_0.npz")["out"]


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


class Context:
    """What TorchServe hands to a handler, as far as ours asks for it."""

    def __init__(self, directory: Path, persia: dict[str, Any]) -> None:
        model = {"modelName": "ctr", "modelVersion": "2.0", "serializedFile": "model.pt"}
        self.manifest = {"model": model}
        self.system_properties = {"model_dir": str(directory), "gpu_id": None}
        self.model_yaml_config = {"persia": persia}

    def get_all_request_header(self, i: int) -> dict[str, str]:
        return {}

    def get_request_id(self, i: int) -> str:
        return f"request-{i}"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A directory as TorchServe unpacks an archive into."""
    made = tmp_path / "archive"
    made.mkdir()
    (made / "model.pt").write_bytes((MIX / "ckpt" / "jit_dense.pt").read_bytes())
    return made


@pytest.fixture
def handler() -> Iterator[PersiaHandler]:
    made = PersiaHandler()
    level = logging.getLogger().level
    yield made
    logging.getLogger().setLevel(level)
    if made.drift is not None:
        made.drift.close()
    made.persia_context.close()
    made.threads.shutdown()


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:DeprecationWarning")
def test_a_handler_leaves_what_it_was_asked_and_answered(
    archive: Path, handler: PersiaHandler, deployment: Deployment, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    settings = {"addresses": [deployment.middleware.address], "drift_state": str(state), "drift_share": 1}
    handler.initialize(Context(archive, settings))
    handler.persia_context.wait_for_serving(60)
    data = BATCH.read_bytes()
    for _ in range(3):
        answers = handler.handle([{"batch": data, "format": b"raw"}] * 2, Context(archive, {}))
    for answer in answers:
        assert isinstance(answer, bytes)
        assert_close(np.frombuffer(answer, "<f4"), SCORES)
    assert handler.drift is not None
    handler.drift.close()
    (window,) = windows_of(StateDirectory(state, "ctr", "2.0").read().pieces)
    assert (window.seen, window.samples, window.dropped) == (6 * 16, 6 * 16, 0)
    batch = _core.decode_batch(data)
    for feature in batch.features:
        heads = window.sketches[feature.name, "heads"]
        assert isinstance(heads, Heads)
        assert heads.total == 6 * len(feature.positions)
        assert (feature.name, "missing") in window.sketches
    scores = window.sketches["score", "scores"]
    assert isinstance(scores, Numbers)
    assert scores.mean == pytest.approx(float(SCORES.mean()), abs=1e-3)


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:DeprecationWarning")
def test_without_the_setting_there_is_no_watch(archive: Path, handler: PersiaHandler, deployment: Deployment) -> None:
    handler.initialize(Context(archive, {"addresses": [deployment.middleware.address]}))
    assert handler.drift is None


def settings_of(state: Path, **persia: Any) -> dict[str, Any]:
    return handler_settings({"persia": {"drift_state": str(state), **persia}}, environment={})


def test_the_archives_baseline_is_put_beside_the_windows(tmp_path: Path) -> None:
    baseline = baseline_of_windows(USUAL.windows(5, np.random.default_rng(1)))
    write_baseline(tmp_path / "usual.drift", baseline)
    for _ in range(2):  # it is there already the second time
        watch = open_watch(settings_of(tmp_path / "state", drift_baseline="usual.drift"), "ctr", "1.0", tmp_path)
        assert watch is not None
        watch.close()
        found = StateDirectory(tmp_path / "state", "ctr", "1.0").baseline()
        assert found is not None
        assert found.limits == baseline.limits


def test_a_broken_baseline_is_no_reason_not_to_serve(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "usual.drift").write_bytes(b"?")
    watch = open_watch(settings_of(tmp_path / "state", drift_baseline="usual.drift"), "ctr", "1.0", tmp_path)
    assert watch is not None
    watch.close()
    assert "the baseline of the watch for drift cannot be used" in caplog.text
    assert StateDirectory(tmp_path / "state", "ctr", "1.0").baseline() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drift_state": "relative"}, "expected an absolute path, got 'relative'"),
        ({"drift_share": 2}, "expected a number over 0, and up to 1, got 2"),
        ({"drift_share": True}, "expected a number over 0, and up to 1, got True"),
        ({"drift_samples": "all"}, "expected none or scores or inputs, got 'all'"),
        ({"drift_window_seconds": 0}, "expected a positive number, got 0"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        handler_settings({"persia": settings}, environment={})


def test_a_process_that_ends_leaves_its_last_window(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from persia.drift.opening import open_watch
from persia.drift.sketching import Texts
from persia.torchserve.settings import handler_settings
settings = handler_settings({{"persia": {{"drift_state": {str(tmp_path)!r}}}}})
watch = open_watch(settings, "ctr", "1.0", Path("."))
assert watch.wants(1)
watch.saw_texts(["a"], lambda: Texts([[1, 2]]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    (window,) = windows_of(StateDirectory(tmp_path, "ctr", "1.0").read().pieces)
    assert (window.seen, window.samples) == (1, 1)
