"""`infer`, in each form of its input and output, against a real TorchServe."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from persia._core import decode_batch
from persia.client.infer_command import infer as infer_command
from persia.client.inputs import batches_of_file
from persia.client.load import send_all
from persia.errors import InvalidInput, Unavailable
from tests.support.places import ROOT
from tests.support.servers import PATIENCE
from tests.support.torchserves import LAUNCHER, MIX, TorchServeRun, scores_of_golden

BATCH = MIX / "golden" / "batch16_0.bin"


def options(run: TorchServeRun) -> list[str]:
    return ["--address", run.address, "--token-file", str(run.token_file), "--timeout", str(PATIENCE)]


def infer(run: TorchServeRun, *arguments: str) -> Result:
    """Within this process."""
    return CliRunner().invoke(infer_command, [*options(run), *arguments])


@pytest.mark.parametrize("command", [[sys.executable, str(ROOT / "client" / "infer.py")], [str(LAUNCHER), "infer"]])
def test_it_runs_as_a_script_of_the_checkout_and_as_a_command(
    torchserve: TorchServeRun, tmp_path: Path, command: list[str]
) -> None:
    arguments = [*options(torchserve), "--model-name", "golden", "--input", str(BATCH), "--show", "16"]
    run = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=PATIENCE)
    np.testing.assert_allclose([float(line) for line in run.stdout.splitlines()], scores_of_golden(), rtol=1e-4)
    assert run.stderr.startswith("1 answers in ")


def test_a_terminal_is_shown_how_far_it_is(torchserve: TorchServeRun) -> None:
    terminal, its_end = pty.openpty()
    command = [str(LAUNCHER), "infer", *options(torchserve), "--model-name", "golden", "--repeat", "4", "--input", str(BATCH)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=its_end)
    os.close(its_end)
    shown = b""
    with contextlib.suppress(OSError):  # EIO, once the process has closed it
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert process.wait(PATIENCE) == 0
    assert b"requests" in shown and b"100%" in shown, shown


def test_random_data_has_the_shape_that_is_asked_for(torchserve: TorchServeRun) -> None:
    shape = ["--batch-size", "3", "--features", "5", "--ids", "7", "--dense", "2", "--batches", "2", "--seed", "1"]
    run = infer(torchserve, "--model-name", "shapes", *shape)
    assert run.stdout.splitlines() == ["3 5 105 2"] * 6
    run = infer(torchserve, "--model-name", "shapes", "--batch-size", "1", "--features", "1", "--dense", "0")
    assert run.stdout == "1 1 16 0\n"


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_scores_are_written_in_the_order_of_the_input(torchserve: TorchServeRun, tmp_path: Path, suffix: str) -> None:
    source, out = tmp_path / "in.npz", tmp_path / f"scores{suffix}"
    np.savez(source, user=np.arange(10, dtype=np.uint64), price=np.ones((10, 4), np.float32))
    files = ["--input", str(source), "--input", str(BATCH), "--output", str(out), "--batch-size", "4", "--show", "0"]
    run = infer(torchserve, "--model-name", "shapes", "--concurrency", "4", *files)
    assert run.exit_code == 0 and run.stdout == ""
    scores = np.load(out) if suffix == ".npy" else np.loadtxt(out, delimiter=",", ndmin=2)
    assert scores[:, 0].tolist() == [4] * 8 + [2] * 2 + [16] * 16
    assert scores[0].tolist() == [4, 1, 4, 4]


def test_keys_stand_beside_the_scores_of_a_csv(torchserve: TorchServeRun, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "scores.csv"
    source.write_text("request,user,tags,age\nr1,-5,a|b,1\nr2,6,,2\nr3,7,c,3\n")
    columns = ["--key", "request", "--dense", "age", "--feature", "tags", "--batch-size", "2", "--output", str(out)]
    run = infer(torchserve, "--model-name", "shapes", "--input", str(source), *columns)
    assert run.exit_code == 0, run.stderr
    # Of each batch its samples, features, ids and dense width.
    assert run.stdout.splitlines() == ["r1 2 2 4 1", "r2 2 2 4 1", "r3 1 2 2 1"]
    assert out.read_text().splitlines()[0] == "request,score_0,score_1,score_2,score_3"
    assert out.read_text().splitlines()[1:] == ["r1,2,2,4,1", "r2,2,2,4,1", "r3,1,2,2,1"]


def test_every_batch_is_sent_as_often_as_asked(torchserve: TorchServeRun) -> None:
    run = infer(torchserve, "--model-name", "golden", "--input", str(BATCH), "--repeat", "20", "--concurrency", "3")
    assert run.stderr.startswith("20 answers in ") and " p99 " in run.stderr
    assert len(run.stdout.splitlines()) == 10 and run.stderr.endswith("... and 6 more\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model-name", "nowhere", "--batch-size", "1"], "Error: Model not found: nowhere"),
        (
            ["--model-name", "shapes", "--version", "7", "--batch-size", "1"],
            "Error: Model version: 7 does not exist",
        ),
        (["--model-name", "shapes", "--timeout", "0.000001"], "Error: no answer within the deadline"),
        (
            ["--model-name", "shapes", "--output", "nowhere/x.npy"],
            "Error: expected a file that can be written, got nowhere/x.npy",
        ),
        (
            ["--model-name", "shapes", "--output", "x.txt"],
            "Error: expected a file that ends in .npy, .csv, .jsonl or .parquet, got x.txt",
        ),
        (["--model-name", "shapes", "--input", __file__], "Error: expected a file that ends in .bin, .npz, .parquet, .csv"),
        (["--model-name", "shapes", "--dense", "age"], "Error: expected a number as --dense of random data, got age"),
        (["--model-name", "shapes", "--key", "k"], "Error: expected --input beside --key, --feature and --text"),
        (["--model-name", "shapes", "--token-file", "/nowhere"], "Error: expected TorchServe's tokens in /nowhere"),
    ],
)
def test_what_goes_wrong_is_one_clear_line(torchserve: TorchServeRun, arguments: list[str], message: str) -> None:
    run = infer(torchserve, *arguments)
    assert run.exit_code == 1 and run.stdout == ""
    assert run.stderr.splitlines()[-1].startswith(message)


@pytest.mark.parametrize(("option", "value"), [("--seed", "-1"), ("--rows", str(1 << 65)), ("--timeout", "nan")])
def test_a_number_that_cannot_be_is_refused(option: str, value: str) -> None:
    run = CliRunner().invoke(infer_command, ["--model-name", "shapes", option, value])
    assert run.exit_code == 2 and f"Invalid value for '{option}'" in run.stderr


def test_failures_are_counted_and_the_others_go_on() -> None:
    def predict(batch: bytes) -> np.ndarray:
        if batch == b"bad":
            raise Unavailable("no")
        return np.frombuffer(batch, np.uint8)

    outcome = send_all(predict, [b"a", b"bad", b"c"], repeat=5, concurrency=4)
    assert outcome.errors == {"Unavailable": 5} and len(outcome.seconds) == 10
    assert [None if scores is None else scores.tolist() for scores in outcome.answers] == [[97], None, [99]]
    assert [line.split(" in ")[0] for line in outcome.summary()] == ["10 answers", "5 failed with Unavailable"]


def test_columns_of_npz_become_features_and_dense_tensors(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    columns = {
        "user": np.array([5, 6, 7], np.uint64),
        "pair": np.array([[1, 2], [3, 4], [5, 6]], np.uint64),
        "tags": np.array([9, 8, 8], np.uint64),
        "tags.offsets": np.array([0, 1, 1, 3]),
        "price": np.array([[0.5], [1], [2]], np.float32),
        "age": np.array([[1], [2], [3]], np.int64),
    }
    np.savez(path, **columns)  # type: ignore[arg-type]
    first, last = (decode_batch(batch) for batch in batches_of_file(path, 2))
    assert [feature.name for feature in first.features] == ["user", "pair", "tags"]
    assert [feature.ids_per_sample.tolist() for feature in first.features] == [[1, 1], [2, 2], [1, 0]]
    assert [feature.ids_per_sample.tolist() for feature in last.features] == [[1], [2], [2]]
    assert set(last.features[2].ids.tolist()) == {8}
    assert [dense.dtype for dense in first.dense] == [np.float32, np.int64]
    assert last.dense[0].tolist() == [[2.0]]


def test_columns_of_parquet_become_features_and_dense_tensors(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    table = pa.table(
        {
            "user": pa.array([5, 6, 7], pa.int32()),
            "tags": pa.array([[9], [], [8, 8]], pa.list_(pa.int64())),
            "price": pa.array([0.5, 1, 2], pa.float64()),
            "rating": pa.array([3.0, 4, 5], pa.float32()),
            "vector": pa.array([[1.0, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2)),
        }
    )
    pq.write_table(table, path)
    first, last = (decode_batch(batch) for batch in batches_of_file(path, 2))
    assert [feature.name for feature in first.features] == ["user", "tags"]
    assert [feature.ids_per_sample.tolist() for feature in [*first.features, *last.features]] == [[1, 1], [1, 0], [1], [2]]
    assert [dense.tolist() for dense in last.dense] == [[[5, 6]], [[2, 5]]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"price": np.ones((2, 1))}, "at least one array of ids, .* got price float64"),
        ({"user": np.ones(2, np.uint64), "price": np.ones((3, 1))}, "same number of samples everywhere, got .*'price': 3"),
        ({"user": np.ones(0, np.uint64)}, "at least one sample"),
    ],
)
def test_columns_that_make_no_batch_are_refused(tmp_path: Path, columns: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, **columns)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=message):
        list(batches_of_file(path, 2))


@pytest.mark.parametrize("name", ["in.npz", "in.parquet"])
def test_a_file_that_is_cut_short_or_something_else_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    columns = {"user": np.arange(1000, dtype=np.uint64)}
    np.savez(tmp_path / "whole.npz", **columns)  # type: ignore[arg-type]
    pq.write_table(pa.table(columns), tmp_path / "whole.parquet")
    whole = (tmp_path / f"whole{path.suffix}").read_bytes()
    np.save(tmp_path / "one.npy", columns["user"])
    for content in (b"", whole[: len(whole) // 2], (tmp_path / "one.npy").read_bytes(), b"PK\3\4"):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=rf"expected an? \{path.suffix} file.*, got {path}"):
            list(batches_of_file(path, 2))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1, None, 3]), "'user': expected no empty cells, got 1, the first in sample 1"),
        (pa.array([b"a", b"b", b"c"]), "'user': expected integers or strings .*, got binary"),
        (pa.array([1.0, 2, 3]), "a column of ids at least, of integers or strings, got user float64"),
    ],
)
def test_columns_of_parquet_that_make_no_batch_are_refused(tmp_path: Path, column: pa.Array, message: str) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"user": column}), path)
    with pytest.raises(InvalidInput, match=message):
        list(batches_of_file(path, 2))


def test_without_pyarrow_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"user": [1]}), path)
    (tmp_path / "pyarrow.py").write_text("raise ImportError('not here')")
    code = f"from persia.client.inputs import *; from pathlib import Path; list(batches_of_file(Path({str(path)!r}), 2))"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert "InvalidInput: reading .parquet needs pyarrow: pip install 'persia-serve[parquet]'" in run.stderr
