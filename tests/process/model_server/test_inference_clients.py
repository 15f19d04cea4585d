"""The clients that users have: tritonclient, the SDK of KServe and curl, and of TorchServe torchserve-client."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.process.model_server.test_tensor_models import DECLARED, SCALE, X
from tests.support.model_servers import HANDLERS, ModelServerRun, ask, make_mar
from tests.support.open_inference import infer, tensor
from tests.support.places import ROOT
from tests.support.servers import PATIENCE
from tests.support.tensor_models import make_bare_mar, save_scripted

pytestmark = pytest.mark.whole_way

PAGE = (ROOT / "docs" / "open-inference.md").read_text()
PYTHON = ROOT / "build" / "clients" / "bin" / "python"
SCRIPTS = ROOT / "tests" / "support" / "inference_clients"


class Iris(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1)


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("inference_clients")
    store = directory / "store"
    make_mar(store, "echo", handler=HANDLERS / "echo_tensors.py")
    save_scripted(store / "model.pt")
    save_scripted(store / "iris.pt", Iris())
    [handler] = [block for block in _blocks("python") if "class Doubling" in block]
    (directory / "doubling.py").write_text(handler)
    make_mar(store, "doubling", handler=directory / "doubling.py")
    models = ["echo-1.0.mar", "doubling-1.0.mar", "iris.pt", make_bare_mar(store, "strict", store / "model.pt", DECLARED)]
    with ModelServerRun(directory, store, "--models", *models) as run:
        run.wait_ready()
        yield run


def _needs_clients() -> None:
    if not PYTHON.exists():
        pytest.skip(f"needs tritonclient and kserve in {PYTHON}: make clients")


def _run(script: str, *arguments: str) -> None:
    _needs_clients()
    command = [str(PYTHON), "-W", "error::RuntimeWarning", str(SCRIPTS / script), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert run.returncode == 0 and "all answers are right" in run.stdout, run.stdout + run.stderr


def test_tritonclient_over_http(server: ModelServerRun) -> None:
    _run("ask_triton.py", "http", server.places["inference"])


def test_tritonclient_over_grpc(server: ModelServerRun) -> None:
    _run("ask_triton.py", "grpc", server.places["grpc_inference"])


def test_the_sdk_of_kserve(server: ModelServerRun) -> None:
    _run("ask_kserve.py", server.places["inference"], server.places["grpc_inference"])


def test_torchserve_client_and_stubs_of_torchserves_files(tmp_path: Path) -> None:
    make_mar(tmp_path / "store", "probe")
    with ModelServerRun(tmp_path, tmp_path / "store", "--enable-model-api") as run:
        names = ("inference", "management", "grpc_inference", "grpc_management")
        _run("ask_torchserve.py", *(run.places[name] for name in names))


def test_curl(server: ModelServerRun, tmp_path: Path) -> None:
    """Without a content type, with which it says that the body is a form."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    body = tmp_path / "request.json"
    body.write_text(json.dumps({"inputs": [X, SCALE]}))
    url = server.inference("v2/models/strict/infer")
    run = subprocess.run(["curl", "-sS", url, "-d", f"@{body}"], capture_output=True, timeout=PATIENCE, check=True)
    assert json.loads(run.stdout)["outputs"][0]["data"] == [5.0, 110.0]


def test_the_page_s_own_calls(server: ModelServerRun) -> None:
    [call] = _blocks("sh")
    call = call.replace("127.0.0.1:8080", server.places["inference"])
    run = subprocess.run(["bash", "-c", call], capture_output=True, timeout=PATIENCE, check=True)
    assert json.loads(run.stdout)["outputs"] == [
        {"name": "output", "datatype": "FP32", "shape": [1], "data": [10.199999809265137]}
    ]
    _needs_clients()
    script = _blocks("python")[0].replace("127.0.0.1:7070", server.places["grpc_inference"])
    run = subprocess.run([str(PYTHON), "-c", script], capture_output=True, timeout=PATIENCE, check=True)
    assert run.stdout == b"[10.2]\n"


def test_the_page_s_own_handler(server: ModelServerRun) -> None:
    answer = infer(server, "doubling", {"inputs": [tensor("x", "FP32", [2], [1, 2])]})
    assert answer.json["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [2], "data": [2.0, 4.0]}]
    refused = ask(server.inference("predictions/doubling"), b"no tensors")
    assert (refused.status, refused.json["message"]) == (400, "expected a call of the Open Inference Protocol")
    answer = infer(server, "doubling", {"inputs": [tensor("x", "INT8", [2], [1, 2])]})
    assert (answer.status, answer.json["error"]) == (400, "the tensor 'x': expected FP32, got INT8")
