"""`persia-launcher drift`: baselines of files and of live windows, and what is shown."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from persia.client.drift_command import drift
from persia.drift.metrics import serve_metrics
from persia.drift.overview import Asked
from persia.drift.state import Piece, StateDirectory
from tests.support.drift_streams import USUAL, Stream

MODEL = ["--model", "ctr", "--version", "1.0"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(drift, [*map(str, arguments)])


def write(state: Path, stream: Stream, count: int, seed: int, first: int = 0, version: str = "1.0") -> None:
    """Windows as workers leave them: one each ten minutes, of two workers."""
    directory = StateDirectory(state, "ctr", version)
    generator = np.random.default_rng(seed)
    for i in range(first, first + count):
        for window in stream.windows(2, generator):
            window.begin, window.end, window.seen = i * 600.0, (i + 1) * 600.0, 2000
            directory.write(Piece(window, 600.0, 0))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a baseline of eight usual windows, after which the first dense column and the labels change."""
    state = tmp_path_factory.mktemp("state")
    write(state, USUAL, 8, 1)
    made = run("baseline", "--state", state, *MODEL)
    assert made.exit_code == 0, made.output
    assert "in 8 windows" in made.output
    write(state, Stream(shift=0.5, swap=True), 3, 2, first=8)
    return state


def test_status_names_what_has_drifted_and_exits_with_1(state: Path) -> None:
    shown = run("status", "--state", state)
    assert shown.exit_code == 1
    lines = shown.output.splitlines()
    assert lines[0].startswith("ctr 1.0: drift (11 windows, the last one until 1970-01-0")
    assert lines[0].endswith("with 2000 of 4000 samples sketched)")
    drifted = {tuple(line.split()[:2]) for line in lines if " drift " in line[2:]}
    assert {("numbers[0]", "values"), ("score", "labels"), ("score", "mean")} <= drifted
    assert "signals are as usual" in lines[-1]
    assert len(run("status", "--state", state, "--all").output.splitlines()) > len(lines)


def test_status_as_json(state: Path) -> None:
    shown = run("status", "--state", state, "--json", "--in-a-row", "4")
    assert shown.exit_code == 0  # there were three
    (model,) = json.loads(shown.output)
    assert (model["model"], model["version"], model["state"], model["windows"]) == ("ctr", "1.0", "warn", 11)
    (signal,) = [each for each in model["signals"] if (each["what"], each["signal"]) == ("numbers[0]", "values")]
    assert (signal["state"], signal["windows_in_a_row"], signal["count"]) == ("warn", 3, 2000)
    assert signal["value"] > signal["limit"] > 0


def test_what_cannot_be_told_is_exit_code_2(state: Path, tmp_path: Path) -> None:
    wrong = run("status", "--state", state, "--model", "cvr")
    assert (wrong.exit_code, wrong.output) == (2, f"Error: expected windows of cvr in {state}, got those of ctr 1.0\n")
    assert run("baseline", "--state", state, "--model", "ctr").exit_code == 2
    assert run("baseline", "--out", tmp_path / "b").exit_code == 2
    few = run("baseline", "--state", state, *MODEL, "--windows", "4", "--out", tmp_path / "b")
    assert few.exit_code == 2
    assert "expected at least 5 windows of 500 samples or more" in few.output


def test_without_a_baseline_that_is_said_and_broken_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, USUAL, 1, 1)
    broken = StateDirectory(tmp_path, "ctr", "1.0").path / "window-000-1-1.drift"
    broken.write_bytes(b"?")
    shown = run("status", "--state", tmp_path)
    assert shown.exit_code == 0
    assert "ctr 1.0: no baseline (1 windows" in shown.output
    assert f"not read: {broken} at byte 0: expected a file of `persia-launcher drift` (window)" in shown.output


def test_a_baseline_of_files_is_one_of_the_live_stream(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    samples: list[str | Path] = []
    for i in range(60):
        path = tmp_path / f"{i}.bin"
        path.write_bytes(USUAL.data(generator))
        samples += ["--input", path]
    made = run("baseline", *samples, "--out", tmp_path / "baseline.drift")
    assert made.exit_code == 0, made.output
    assert "of 6000 samples in 6 windows" in made.output
    write(tmp_path / "state", USUAL, 3, 4)
    asked: list[str | Path] = ["status", "--state", tmp_path / "state", "--baseline", tmp_path / "baseline.drift"]
    assert run(*asked).exit_code == 0
    write(tmp_path / "state", Stream(new=0.2), 3, 5, first=3)
    assert run(*asked).exit_code == 1


def test_a_baseline_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    generator = np.random.default_rng(6)
    rows = [f"{user},{age:.3f},x" for user, age in zip(generator.integers(0, 50, 6000), generator.random(6000), strict=True)]
    path.write_text("\n".join(["user,age,request", *rows]))
    made = run("baseline", "--input", path, "--key", "request", "--out", tmp_path / "b")
    assert made.exit_code == 0, made.output


def test_metrics_have_no_series_of_single_ids(state: Path) -> None:
    server = serve_metrics(Asked(state), 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=60) as response:
            text = response.read().decode()
    finally:
        server.close()
    assert 'persia_drift_model_state{model="ctr",version="1.0"} 2.0' in text
    assert 'persia_drift_state{model="ctr",signal="values",version="1.0",what="numbers[0]"} 2.0' in text
    assert 'persia_drift_window_samples{model="ctr",version="1.0"} 2000.0' in text
    assert 'persia_drift_score_quantile{model="ctr",quantile="0.5",version="1.0",what="score"}' in text
    assert text.count("\n") < 300
