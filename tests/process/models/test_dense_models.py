"""Dense models of every kind: packed, loaded, asked for any number of samples, and refused where they could not be served."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from persia.dense.kinds import Kind, kind_of
from persia.dense.loading import load_dense
from persia.torchserve.archive.command import archive
from persia.torchserve.archive.dense.answers import scores_of
from tests.support.dense_models import BATCH, FILES, One, Two, tensors, write_models
from tests.support.middlewares import Deployment
from tests.support.signed_models import signature_of_archive
from tests.support.torchserves import MIX, TorchServeRun

pytestmark = [pytest.mark.whole_way, pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")]
QUICK_FILES = [file for file in FILES if file != "compiled.pt2"]
KINDS = dict(zip(FILES, (Kind.TORCHSCRIPT, Kind.EXPORTED, Kind.COMPILED, Kind.ONNX), strict=True))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories `One` and `Two`, by their outputs, and `page`. To compile a model takes long: it is done of one alone."""
    directory = tmp_path_factory.mktemp("models")
    write_models(directory, {"One": QUICK_FILES, "Two": FILES})
    return directory


def pack(model: Path, out: Path, *more: str | Path) -> Result:
    name = f"{model.stem}-{model.suffix[1:]}"
    options = ["--model", model, "--name", name, "--out", out, "--overwrite", *more]
    return CliRunner().invoke(archive, [str(option) for option in options], catch_exceptions=False)


SAMPLE: list[str | Path] = ["--sample", BATCH, "--embedding-config", MIX / "embedding_config.yml"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("samples", [0, 1, 16, 2048])
def test_a_loaded_model_takes_any_number_of_samples(models: Path, file: str, samples: int) -> None:
    inputs = tensors(samples)
    assert kind_of(models / "Two" / file) is KINDS[file]
    with torch.inference_mode():
        answer, own = load_dense(models / "Two" / file)(*inputs), Two()(*inputs)
    assert list(answer) == ["ctr", "both"]
    torch.testing.assert_close(answer, own)


@pytest.mark.parametrize("file", QUICK_FILES)
def test_one_output_is_a_tensor(models: Path, file: str) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(load_dense(models / "One" / file)(*tensors(4)), One()(*tensors(4)))


@pytest.mark.parametrize("file", FILES)
def test_each_kind_is_packed_with_a_signature_and_scored_from_its_archive(models: Path, tmp_path: Path, file: str) -> None:
    run = pack(models / "Two" / file, tmp_path, *SAMPLE)
    assert run.exit_code == 0, run.output
    (packed,) = tmp_path.glob("*.mar")
    signature = signature_of_archive(packed)
    assert signature is not None
    assert [(output.name, output.shape) for output in signature.outputs] == [("ctr", ()), ("both", (2,))]
    dense, embeddings = ([tensor.numpy() for tensor in part] for part in tensors(5))
    ctr, both = scores_of(packed, dense, embeddings)
    np.testing.assert_allclose(both, Two()(*tensors(5))["both"].detach().numpy(), atol=1e-6)
    np.testing.assert_array_equal(ctr, both[:, 0])


@pytest.fixture(scope="module")
def served(models: Path, deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeRun]:
    """A store with an archive of each kind."""
    directory = tmp_path_factory.mktemp("served")
    for file in FILES:
        assert pack(models / "Two" / file, directory / "store", *SAMPLE).exit_code == 0
    environment = {**os.environ, "EMBEDDING_WORKER_SERVICE": deployment.middleware.address}
    with TorchServeRun(directory, directory / "store", ["--models", "all"], environment) as run:
        yield run.wait_ready()


@pytest.mark.parametrize("file", FILES)
def test_torchserve_serves_each_kind(served: TorchServeRun, file: str) -> None:
    path = Path(file)
    with served.client(f"{path.stem}-{path.suffix[1:]}") as client:
        scores = client.predict(BATCH.read_bytes())
    with torch.inference_mode():
        own = Two()(*tensors(16))
    assert scores.keys() == own.keys()
    for name, expected in own.items():
        np.testing.assert_allclose(scores[name], expected.numpy(), atol=1e-3)


def test_the_pages_own_model_can_be_written_as_the_page_says(models: Path) -> None:
    for file in ("dense.pt", "dense.pt2", "dense.onnx"):
        answer = load_dense(models / "page" / file)([torch.zeros(5, 2)], [torch.zeros(5, 4).half()] * 2)
        assert answer.shape == (5,)
