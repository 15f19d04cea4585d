"""`python client/infer.py`, as a user types it, with each form of input, before TorchServe with our handler and real shards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from persia._core import decode_batch
from persia.batch import IDTypeFeatureWithSingleID, NonIDTypeFeature, PersiaBatch
from persia.torchserve.schema import new_message, open_channel, predictions_call
from persia.torchserve.tokens import Tokens
from tests.support.golden import arrays_of, golden
from tests.support.middlewares import Deployment
from tests.support.places import ROOT
from tests.support.servers import PATIENCE
from tests.support.torchserves import PERSIA_HANDLER, TorchServeRun, assert_close, make_archive

pytestmark = [pytest.mark.whole_way, pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")]

SCORED = [path for path in golden("mix/golden/*.npz") if "out" in arrays_of(path)]
GRPC_MIB = 4  # what gRPC takes unless it is told otherwise


class Echo(torch.nn.Module):
    """Its scores are its dense tensor: as wide as a test wants them, and known."""

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        return dense[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, deployment: Deployment) -> Iterator[TorchServeRun]:
    directory = tmp_path_factory.mktemp("served")
    torch.jit.script(Echo()).save(str(directory / "echo.pt"))
    models = [
        make_archive(directory / "store", "mix", handler=PERSIA_HANDLER),
        make_archive(directory / "store", "echo", handler=PERSIA_HANDLER, model=directory / "echo.pt"),
    ]
    environment = {**os.environ, "EMBEDDING_WORKER_SERVICE": deployment.middleware.address}
    with TorchServeRun(directory, directory / "store", ["--models", ",".join(models)], environment) as run:
        yield run.wait_ready()


def infer(run: TorchServeRun, model: str, directory: Path, *arguments: object) -> np.ndarray:
    """The scores that the script writes to a file."""
    command = [sys.executable, ROOT / "client" / "infer.py", "--model-name", model, "--address", run.address]
    command += ["--token-file", run.token_file, "--timeout", PATIENCE, "--output", directory / "scores.npy", *arguments]
    ended = subprocess.run([str(part) for part in command], cwd=directory, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr
    scores = np.load(directory / "scores.npy")
    assert f"scores.npy: scores {scores.shape}\n" in ended.stderr
    return np.asarray(scores)


def columns_of(batch: Path) -> dict[str, np.ndarray]:
    """The table that a user has who could have sent this batch, as arrays of an .npz: one id per sample needs no offsets."""
    decoded = decode_batch(batch.read_bytes())
    columns: dict[str, np.ndarray] = {}
    for feature in decoded.features:
        samples, places = feature.positions.T
        ids = np.repeat(feature.ids, np.diff(feature.offsets))[np.lexsort((places, samples))]
        columns[feature.name] = ids
        if (feature.ids_per_sample != 1).any():
            columns[f"{feature.name}.offsets"] = np.concatenate([[0], np.cumsum(feature.ids_per_sample, dtype=np.int64)])
    (columns["numbers"],) = decoded.dense
    return columns


def write_npz(path: Path, columns: dict[str, np.ndarray]) -> None:
    np.savez(path, **columns)  # type: ignore[arg-type]


def write_parquet(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Ids as integers or lists of them; the dense tensor as one column of floats for each of its own."""
    table: dict[str, Any] = {}
    for name, array in columns.items():
        if (offsets := columns.get(f"{name}.offsets")) is not None:
            table[name] = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(array))
        elif array.dtype == np.uint64:
            table[name] = pa.array(array)
        elif not name.endswith(".offsets"):
            table |= {f"{name}{i}": pa.array(column) for i, column in enumerate(array.T)}
    pq.write_table(pa.table(table), path)


FORMS = {"npz": write_npz, "parquet": write_parquet}


@pytest.mark.parametrize("form", ["bin", *FORMS])
def test_each_form_of_input_gets_the_scores_of_real_persia(served: TorchServeRun, tmp_path: Path, form: str) -> None:
    arguments: list[object] = ["--batch-size", 7, "--concurrency", 2]  # so that tables are cut, and answers come in any order
    for path in SCORED:
        batch = path.with_suffix(".bin")
        if form != "bin":
            table = tmp_path / f"{path.stem}.{form}"
            FORMS[form](table, columns_of(batch))
            batch = table
        arguments += ["--input", batch]
    scores = infer(served, "mix", tmp_path, *arguments)
    assert_close(scores, np.concatenate([arrays_of(path)["out"] for path in SCORED]))


SAMPLES, WIDTH = 60_000, 20
LARGE = np.random.default_rng(1).random((SAMPLES, WIDTH), np.float32)
USERS = np.arange(SAMPLES, dtype=np.uint64)


def test_more_than_grpc_takes_by_itself_comes_whole_to_the_script(served: TorchServeRun, tmp_path: Path) -> None:
    assert LARGE.nbytes > GRPC_MIB << 20
    write_npz(tmp_path / "large.npz", {"user_id": USERS, "numbers": LARGE})
    scores = infer(served, "echo", tmp_path, "--input", tmp_path / "large.npz", "--batch-size", SAMPLES)
    np.testing.assert_array_equal(scores, LARGE)


def test_more_than_grpc_takes_by_itself_comes_whole_as_raw_numbers(served: TorchServeRun) -> None:
    batch = PersiaBatch([IDTypeFeatureWithSingleID("user_id", USERS)], [NonIDTypeFeature(LARGE)], requires_grad=False)
    inputs = {"batch": batch.to_bytes(), "format": b"raw"}
    channel = open_channel(served.address, grpc)
    try:
        metadata = Tokens(file=served.token_file).metadata("inference")
        request = new_message("PredictionsRequest", model_name="echo", input=inputs)
        answer = predictions_call(channel)(request, timeout=PATIENCE, metadata=metadata).prediction
    finally:
        channel.close()
    np.testing.assert_array_equal(np.frombuffer(answer, "<f4").reshape(LARGE.shape), LARGE)


def test_ids_without_rows_and_columns_that_are_no_features_are_said(served: TorchServeRun, tmp_path: Path) -> None:
    """As a user meets them who has a table of the wrong columns."""
    columns = columns_of(SCORED[0].with_suffix(".bin"))
    first = next(name for name in columns if f"{name}.offsets" not in columns and columns[name].dtype == np.uint64)
    columns[first] = np.arange(len(columns[first]), dtype=np.uint64) + np.uint64(1 << 50)
    write_parquet(tmp_path / "new.parquet", columns)
    columns["extra"] = columns[first]
    write_parquet(tmp_path / "extra.parquet", columns)
    samples = len(columns[first])
    assert samples >= 10

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, ROOT / "client" / "infer.py", "--model-name", "mix", "--address", served.address]
        command += ["--token-file", served.token_file, "--timeout", PATIENCE, "--input", tmp_path / name, *arguments]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=PATIENCE)

    ended = run("new.parquet", "--show", "100")
    assert ended.returncode == 1 and len(ended.stdout.splitlines()) == samples
    assert f"feature '{first}': {samples} of {samples} ids have no row in the table\n" in ended.stderr
    assert f"Error: no id of the feature '{first}' has a row in the table" in ended.stderr
    assert run("new.parquet", "--allow-new-ids").returncode == 0
    ended = run("extra.parquet")
    assert ended.returncode == 1 and "'extra'" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("a column that is no feature: --key COLUMN keeps it out")
    assert run("extra.parquet", "--key", "extra", "--allow-new-ids").returncode == 0
