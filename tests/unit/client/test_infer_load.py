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

from persia.client import load
from persia.client.infer_command import infer as infer_command
from persia.client.load import send_all
from persia.client.predict import Client, Prediction
from persia.errors import InvalidInput
from persia.torchserve.details import Details, FeatureDetails
from tests.support.servers import PATIENCE, wait_until

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
    """As a process is that a shell started in the foreground; but one interrupt is all that is heard."""
    heard = []

    def interrupt(number: int, frame: object) -> None:
        heard.append(number)
        if len(heard) == 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_or_a_bug_ends_it_with_the_calls_under_way(
    leaving: threading.Event, interruptible: None, kind: type[BaseException]
) -> None:
    all_under_way = threading.Barrier(CALLS_AT_A_TIME)
    calls: list[bytes] = []

    def interrupted() -> bool:
        """Asked again: a signal that comes just before the main thread falls asleep does not wake it."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return leaving.wait(0.1)

    def predict(batch: bytes) -> np.ndarray:
        calls.append(batch)
        if len(calls) <= CALLS_AT_A_TIME and all_under_way.wait(PATIENCE) == 0:
            if kind is RuntimeError:
                raise RuntimeError("a bug")
            wait_until(interrupted, "the interrupt is heard")
        assert leaving.wait(PATIENCE)
        return np.zeros(1)

    with pytest.raises(kind):
        send_all(predict, [b"x"], 100, CALLS_AT_A_TIME)
    assert len(calls) == CALLS_AT_A_TIME


def infer(monkeypatch: pytest.MonkeyPatch, scores: Any, *arguments: str) -> Result:
    """With a model that has these scores for whatever it is asked."""
    answer = scores if isinstance(scores, Prediction) else Prediction(np.asarray(scores), None)
    monkeypatch.setattr(Client, "predict", lambda *_, details, **others: answer)
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


def told(scores: Any, **features: tuple[int, int, int]) -> Prediction:
    """An answer that knows of each feature how many ids it has, and of these those without a row and of another dim."""
    counts = {name: FeatureDetails(ids, new, wrong, 0) for name, (ids, new, wrong) in features.items()}
    return Prediction(scores, Details(model="any", model_version="1.0", model_hash="0", features=counts))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two samples."""
    path = tmp_path / "in.csv"
    path.write_text("zip\n1\n2\n")
    return path


def test_new_ids_are_said_for_each_feature(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    answer = told(np.zeros(1), zip=(1, 1, 0), user=(9, 0, 0), tags=(9, 2, 3))
    run = infer(monkeypatch, answer, "--input", str(table), "--repeat", "3")
    assert run.exit_code == 0 and run.stdout == "0\n0\n"
    assert run.stderr.splitlines()[1:] == [
        "feature 'zip': 2 of 2 ids have no row in the table",
        "feature 'tags': 4 of 18 ids have no row in the table",
        "feature 'tags': 6 of 18 ids have a row of another dim, and count as zeros",
    ]


def test_a_feature_without_any_row_is_a_mistake_once_the_scores_are_written(
    monkeypatch: pytest.MonkeyPatch, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.npy"
    all_new = told(np.zeros(1), zip=(5, 5, 0), user=(9, 8, 0))
    run = infer(monkeypatch, all_new, "--input", str(table), "--output", str(out))
    assert run.exit_code == 1 and run.stdout == "0\n0\n" and np.load(out).tolist() == [0, 0]
    error = run.stderr.splitlines()[-1]
    assert error.startswith("Error: no id of the feature 'zip' has a row in the table")
    assert all(cause in error for cause in ("--text COLUMN", "signs", "another hash", "--allow-new-ids"))
    for accepted in (["--input", str(table), "--allow-new-ids"], ["--batches", "2"]):  # random ids are nobody's
        run = infer(monkeypatch, all_new, *accepted)
        assert run.exit_code == 0 and "'zip': 10 of 10 ids" in run.stderr


def test_several_outputs_are_shown_and_written(monkeypatch: pytest.MonkeyPatch, table: Path, tmp_path: Path) -> None:
    scores = {"ctr": np.array([0.5]), "cvr": np.array([[1.0, 2]])}
    table.write_text("zip,user\na,1\nb,2\n")
    out = tmp_path / "out.csv"
    run = infer(monkeypatch, told(scores), "--input", str(table), "--key", "zip", "--output", str(out))
    assert run.exit_code == 0 and run.stdout == "a ctr=0.5 cvr=1,2\nb ctr=0.5 cvr=1,2\n"
    assert f"{out}: ctr (2,), cvr (2, 2)" in run.stderr
    assert out.read_text() == "zip,ctr,cvr_0,cvr_1\na,0.5,1,2\nb,0.5,1,2\n"


def test_several_outputs_are_refused_for_npy_at_the_first_answer(
    monkeypatch: pytest.MonkeyPatch, table: Path, tmp_path: Path
) -> None:
    answers = []

    def predict(*_: Any, details: bool, **others: Any) -> Prediction:
        answers.append(details)
        return told({"ctr": np.zeros(1), "cvr": np.zeros(1)})

    monkeypatch.setattr(Client, "predict", predict)
    command = ["--model-name", "any", "--batch-size", "1", "--input", str(table), "--output", str(tmp_path / "out.npy")]
    run = CliRunner().invoke(infer_command, command)
    assert run.exit_code == 1 and answers == [True]
    assert "Error: expected a .csv, .jsonl or .parquet for the 2 outputs 'ctr', 'cvr'" in run.stderr


@pytest.mark.parametrize("problem", ["the model takes no such feature", "the embedding config has no slot of this name"])
def test_a_column_that_is_no_feature_can_be_kept_out(monkeypatch: pytest.MonkeyPatch, table: Path, problem: str) -> None:
    def refuse(*_: Any, details: bool, **others: Any) -> Prediction:
        raise InvalidInput(f"feature 'zip': {problem}")

    monkeypatch.setattr(Client, "predict", refuse)
    advice = "a column that is no feature: --key COLUMN keeps it out, --dense COLUMN (or TENSOR=COLUMN) makes it a dense input"
    run = CliRunner().invoke(infer_command, ["--model-name", "any", "--input", str(table)])
    assert run.exit_code == 1 and run.stderr.endswith(f"Error: feature 'zip': {problem}\n{advice}\n")
    run = CliRunner().invoke(infer_command, ["--model-name", "any"])
    assert run.exit_code == 1 and advice not in run.stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["n="], "expected --dense COLUMN or TENSOR=COLUMN[,COLUMN...], got 'n='"),
        (["=a"], "expected --dense COLUMN or TENSOR=COLUMN[,COLUMN...], got '=a'"),
        (["n=a,,b"], "expected --dense COLUMN or TENSOR=COLUMN[,COLUMN...], got 'n=a,,b'"),
        (["n=a", "n=b"], "expected all columns of a dense tensor in one --dense, got 'n' twice"),
        (["n=nobody"], "expected a column 'nobody', got 'zip'"),
    ],
)
def test_dense_tensors_that_are_none(monkeypatch: pytest.MonkeyPatch, table: Path, options: list[str], problem: str) -> None:
    run = infer(monkeypatch, [1], "--input", str(table), *(part for option in options for part in ("--dense", option)))
    assert run.exit_code == 1 and problem in run.stderr
