"""How `infer` goes through its calls and shows what came, with calls that need no server."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from servers import PATIENCE

from client import load
from client.infer_command import infer as infer_command
from client.load import send_all
from client.predict import Client

CALLS_AT_A_TIME = 3


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when send_all waits for nothing but its workers."""
    event = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            event.set()
            super().shutdown(wait, cancel_futures=cancel_futures)

    monkeypatch.setattr(load, "ThreadPoolExecutor", Pool)
    return event


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As a process is that a shell started in the foreground."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_or_a_bug_ends_it_with_the_calls_under_way(
    leaving: threading.Event, interruptible: None, kind: type[BaseException]
) -> None:
    all_under_way = threading.Barrier(CALLS_AT_A_TIME)
    calls: list[bytes] = []

    def predict(batch: bytes) -> np.ndarray:
        calls.append(batch)
        if len(calls) <= CALLS_AT_A_TIME and all_under_way.wait(PATIENCE) == 0:
            if kind is RuntimeError:
                raise RuntimeError("a bug")
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert leaving.wait(PATIENCE)
        return np.zeros(1)

    with pytest.raises(kind):
        send_all(predict, [b"x"], 100, CALLS_AT_A_TIME)
    assert len(calls) == CALLS_AT_A_TIME


def infer(monkeypatch: pytest.MonkeyPatch, scores: Any, *arguments: str) -> Result:
    """With a model that has these scores for whatever it is asked."""
    monkeypatch.setattr(Client, "predict", lambda *_: np.asarray(scores))
    return CliRunner().invoke(infer_command, ["--model-name", "any", "--batch-size", "1", *arguments])


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
@pytest.mark.parametrize("shape", [(0,), (0, 4)])
def test_no_scores_are_no_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    path = tmp_path / f"scores{suffix}"
    run = infer(monkeypatch, np.zeros(shape, np.float32), "--output", str(path))
    assert (run.exit_code, run.stdout, run.stderr.splitlines()[-1]) == (0, "", "no scores")
    if suffix == ".npy":
        assert np.load(path).shape == shape
    else:
        assert path.read_text() == ""


@pytest.mark.parametrize("scores", [[1.5, 2], [[1.5], [2]], [[1.5, 2], [3, 4]], [True, False], [1 + 2j], [[], []]])
def test_numbers_of_every_kind_and_width_are_shown(monkeypatch: pytest.MonkeyPatch, scores: list[Any]) -> None:
    run = infer(monkeypatch, scores)
    assert run.exit_code == 0
    assert [[complex(part) for part in line.split()] for line in run.stdout.splitlines()] == [
        row.tolist() for row in np.array(scores).reshape(len(scores), -1)
    ]


def test_scores_that_are_no_numbers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    run = infer(monkeypatch, ["high", "low"])
    assert run.exit_code == 1 and run.stderr.endswith("Error: expected scores that are numbers, got <U4\n")


@pytest.mark.parametrize("seconds", ["inf", "nan", "0", "-1", "-inf", "1e10"])
def test_a_timeout_that_is_none_is_a_mistake_in_usage(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    run = infer(monkeypatch, [1], "--timeout", seconds)
    assert run.exit_code == 2 and run.stdout == ""
    assert "'--timeout': expected a timeout over 0 and up to 1000000000 seconds, got" in run.stderr
