"""Inference, management and metrics at one address: one listener, in which the path says who may ask."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.model_servers import LAUNCHER, ModelServerRun, ask, make_mar
from tests.support.servers import PATIENCE, free_port, wait_until

KEYS = {"inference": {"key": "predicts-1"}, "management": {"key": "manages-1"}, "API": {"key": "renews-1"}}


def _place(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("one_listener") / "store"
    make_mar(store, "probe")
    return store


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[ModelServerRun]:
    """Without keys; the metrics have an address of their own, too."""
    place = _place(free_port())
    directory = tmp_path_factory.mktemp("open")
    with ModelServerRun(
        directory, store, "--models", "all", "--enable-model-api", inference_address=place, management_address=place
    ) as run:
        run.wait_ready()
        yield run


@pytest.fixture(scope="module")
def with_keys(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[ModelServerRun]:
    """All three at one address, and keys of a file."""
    place = _place(free_port())
    directory = tmp_path_factory.mktemp("with_keys")
    (directory / "keys.json").write_text(json.dumps(KEYS))
    (directory / "keys.json").chmod(0o600)
    with ModelServerRun(
        directory,
        store,
        "--models",
        "all",
        disable_token_authorization=None,
        token_file=directory / "keys.json",
        inference_address=place,
        management_address=place,
        metrics_address=place,
    ) as run:
        wait_until(lambda: _status(run, "ping", "predicts-1") == 200, "the model is ready")
        yield run


def _status(server: ModelServerRun, path: str, key: str | None, data: bytes | None = None) -> int:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return ask(server.inference(path), data, headers=headers).status


def test_one_listener_answers_all(open_to_all: ModelServerRun) -> None:
    assert open_to_all.places["inference"] == open_to_all.places["management"]
    assert ask(open_to_all.inference("predictions/probe"), b"echo x").body == b"x"
    assert ask(open_to_all.inference("models")).json["models"] == [{"modelName": "probe", "modelUrl": "probe-1.0.mar"}]
    assert b"persia_model_workers" in ask(open_to_all.inference("metrics")).body
    assert open_to_all.places["metrics"] != open_to_all.places["inference"] and "persia_model" in open_to_all.metrics()
    answer = ask(open_to_all.inference("models?url=probe-1.0.mar&model_name=second"), b"", "POST")
    assert answer.status == 200 and ask(open_to_all.inference("models/second"), None, "DELETE").status == 200
    assert ask(open_to_all.inference("models/probe/invoke"), b"echo y").body == b"y"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("ping", "predicts-1"),
        ("v2/health/live", "predicts-1"),
        ("models/none/invoke", "predicts-1"),
        ("models", "manages-1"),
        ("%6dodels", "manages-1"),
        ("models/probe", "manages-1"),
        ("workflows", "manages-1"),
        ("metrics", "manages-1"),
        ("token?type=inference", "renews-1"),
    ],
)
def test_the_path_says_which_key_is_asked_for(with_keys: ModelServerRun, path: str, key: str) -> None:
    others = {entry["key"] for entry in KEYS.values()} - {key}
    assert [_status(with_keys, path, other) for other in (None, *others)] == [400, 400, 400]
    answer = ask(with_keys.inference(path), headers={"Authorization": f"Bearer {key}"})
    assert "Token Authorization failed" not in answer.body.decode()


def test_a_description_needs_no_key(with_keys: ModelServerRun) -> None:
    assert ask(with_keys.inference(""), None, "OPTIONS").status == 200
    assert _status(with_keys, "api-description", None) == 200
    assert ask(with_keys.inference("predictions/probe"), None, "OPTIONS").status == 400


def test_ping_is_of_inference_alone(tmp_path: Path, store: Path) -> None:
    with ModelServerRun(tmp_path / "run", store) as server:
        assert ask(server.inference("ping")).status == 200
        answer = ask(server.management("ping"))
        assert (answer.status, answer.json["type"]) == (404, "ResourceNotFoundException")


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        (
            "inference_address=https://127.0.0.1:9\nmanagement_address=http://127.0.0.1:9\nkeystore=any\n",
            "inference_address and management_address are the same: expected https for all of them or for none, got both",
        ),
        (
            "inference_address=http://127.0.0.1:0\ngrpc_inference_port=9\ngrpc_management_port=9\n",
            "expected two addresses for gRPC, got 127.0.0.1:9 for inference and management",
        ),
    ],
)
def test_addresses_that_cannot_be_one_are_refused(tmp_path: Path, properties: str, words: str) -> None:
    config = tmp_path / "config.properties"
    config.write_text(properties)
    run = subprocess.run(
        [LAUNCHER, "model-server", "--ts-config", config], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert run.returncode == 2 and words in run.stderr
