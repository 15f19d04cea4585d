"""Descriptions for OpenAPI: what OPTIONS answers, and whether those who generate clients can read it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_servers import ModelServerRun, ask, make_mar
from tests.support.places import ROOT
from tests.support.tensor_models import make_bare_mar, save_scripted

CLIENTS = ROOT / "build" / "clients" / "bin" / "python"
CHECK = ROOT / "tests" / "support" / "inference_clients" / "check_openapi.py"
DECLARED = (
    "open_inference: {inputs: [{name: x, datatype: FP32, shape: [-1, 2]}, {name: scale, datatype: FP32, shape: [-1, 1]}]}"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("descriptions")
    store = directory / "store"
    make_mar(store, "probe")
    save_scripted(store / "scripted.pt")
    make_bare_mar(store, "tensors", store / "scripted.pt", DECLARED)
    with ModelServerRun(directory, store, "--enable-model-api", "--models", "probe-1.0.mar", "tensors.mar") as run:
        run.wait_ready()
        yield run


def descriptions(server: ModelServerRun) -> dict[str, Any]:
    """All that may be asked for, by a name."""
    asked = {
        "inference": server.inference(""),
        "management": server.management(""),
        "a model": server.inference("predictions/probe"),
        "a model with tensors": server.inference("predictions/tensors/1.0"),
        "management of a model": server.management("models/probe"),
    }
    return {name: ask(url, None, "OPTIONS").json for name, url in asked.items()}


def operations(description: Any) -> dict[tuple[str, str], Any]:
    return {(path, method): one for path, methods in description["paths"].items() for method, one in methods.items()}


def test_each_listener_describes_its_own(server: ModelServerRun) -> None:
    described = descriptions(server)
    assert ask(server.inference("api-description")).json == described["inference"]
    assert ask(server.management("api-description"), b"", "POST").json == described["management"]
    assert ("/predictions/{model_name}", "post") in operations(described["inference"])
    assert ("/v2/models/{model_name}/infer", "post") in operations(described["inference"])
    assert ("/models/{model_name}/traffic", "put") in operations(described["management"])
    assert not operations(described["inference"]).keys() & operations(described["management"]).keys() - {
        ("/", "options"),
        ("/api-description", "get"),
    }
    assert list(operations(described["a model"])) == [("/predictions/probe/1.0", "post")]
    infer = operations(described["a model with tensors"])["/v2/models/tensors/versions/1.0/infer", "post"]
    body = infer["requestBody"]["content"]["application/json"]["schema"]
    tensors = body["properties"]["inputs"]["items"]["oneOf"]
    assert [tensor["properties"]["name"]["enum"] for tensor in tensors] == [["x"], ["scale"]]
    assert ask(server.inference("predictions/none"), None, "OPTIONS").status == 404


def test_what_is_described_is_there(server: ModelServerRun) -> None:
    """No operation of a description is one that the listener does not know; `/token` is there with TorchServe's keys."""
    for name, url in (("inference", server.inference), ("management", server.management)):
        for path, method in operations(descriptions(server)[name]).keys() - {("/token", "get")}:
            place = path.replace("{model_name}", "none").replace("{model_version}", "1.0").lstrip("/")
            answer = ask(url(place), b"" if method in ("post", "put") else None, method.upper())
            assert "Requested" not in answer.body.decode(), (path, method)


def test_a_validator_has_nothing_to_say_against_them(server: ModelServerRun, tmp_path: Path) -> None:
    if not CLIENTS.exists():
        pytest.skip(f"needs openapi-spec-validator in {CLIENTS}: make clients")
    files = []
    for name, description in descriptions(server).items():
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(description))
    run = subprocess.run([CLIENTS, CHECK, *files], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
