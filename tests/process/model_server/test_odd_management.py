"""Management that goes wrong: it is told so, nothing changes that was not understood, and nobody else waits for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests.support.model_servers import HANDLERS, Answer, ModelServerRun, ask, make_mar
from tests.support.servers import PATIENCE, wait_until

INNER = HANDLERS / "inner.py"
ODD_START = HANDLERS / "odd_start.py"
MOST_STARTING = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("odd_management")
    store = directory / "store"
    for version in ("1.0", "2.0"):
        make_mar(store, "a", version, INNER)
    make_mar(store, "waits", handler=ODD_START, config="start: {until: /nowhere/at/all}\n")
    make_mar(store, "exits", handler=ODD_START, config="start: {exit: 3}\n")
    make_mar(store, "slow", handler=ODD_START, config="startupTimeout: 1\nstart: {until: /nowhere/at/all}\n")
    make_mar(store, "grown", handler=INNER, config="memoryLimitMiB: 1\n")
    with ModelServerRun(directory, store, "--enable-model-api") as run:
        yield run


def register(server: ModelServerRun, url: str, **query: object) -> Answer:
    asked = "&".join(f"{key}={value}" for key, value in {"url": url, **query}.items())
    return ask(server.management(f"models?{asked}"), b"", "POST")


def models(server: ModelServerRun) -> set[str]:
    return {model["modelName"] for model in ask(server.management("models")).json["models"]}


@pytest.fixture(scope="module")
def weights(server: ModelServerRun) -> str:
    """Where the weights of a model with two versions are asked for, and told."""
    for version in ("1.0", "2.0"):
        assert register(server, f"a-{version}.mar").status == 200
    return server.management("models/a/traffic")


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/x-www-form-urlencoded", "text/plain"])
def test_weights_are_json_whatever_their_content_type_says(weights: str, content_type: str) -> None:
    assert ask(weights, None, "DELETE").json["weights"] == {}
    body = json.dumps({"weights": {"1.0": 3, "2.0": 1}}).encode()
    answer = ask(weights, body, "PUT", {"Content-Type": content_type})
    assert (answer.status, answer.json["weights"]) == (200, {"1.0": 3, "2.0": 1})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"weights=1.0:1", "expected a JSON object of parameters, got str"),
        (b"\xff", "expected a body of JSON, got one that is none: "),
        (b"[" * 100_000, "expected a body of JSON, got one that is nested too deep"),
        (b"{'a': " * 1000, "expected a body of JSON, got one that is "),
        (b"{}", "expected weights or a shadow, as parameters or JSON, got neither: DELETE takes them away"),
        (None, "expected weights or a shadow, as parameters or JSON, got neither: DELETE takes them away"),
        (b'{"weights": [1]}', "expected a text or a number for weights, got list"),
        (b'{"sticky_by": "\\ud800"}', "expected the name of a header for sticky_by, got "),
        (b'{"weights": "1.0:' + b"9" * 5000 + b'"}', "expected weights such as 1.0:90,2.0:10, each version once"),
    ],
)
def test_weights_stay_if_new_ones_are_not_understood(weights: str, body: bytes | None, words: str) -> None:
    assert ask(f"{weights}?weights=1.0:3", None, "PUT").status == 200
    answer = ask(weights, body, "PUT")
    assert answer.status == 400 and answer.json["message"].startswith(words), answer
    assert ask(weights).json["weights"] == {"1.0": 3}


def test_headers_and_paths_that_are_no_text(server: ModelServerRun, weights: str) -> None:
    body = b'{"weights": {"1.0": 1}}'
    assert ask(weights, body, "PUT", {"x-a": "\xff"}).status == 200
    for path in ("models/%ff", "models/a?customized=%ff", "v2/models/%ed%a0%80", "%c0%80"):
        answer = ask(server.management(path))
        assert answer.status == 400 and "UTF-8" in answer.json["message"], answer


def test_calls_that_wait_leave_threads_to_those_that_do_not(server: ModelServerRun) -> None:
    names = [f"waits{i}" for i in range(MOST_STARTING)]
    with ThreadPoolExecutor(MOST_STARTING) as pool:
        waiting = [pool.submit(register, server, "waits-1.0.mar", model_name=name, initial_workers=1) for name in names]
        wait_until(lambda: {*names} <= models(server), "all of them wait")
        assert ask(server.management("models/waits0")).json[0]["workers"][0]["status"] == "UNLOADING"
        assert json.loads(server.manage("DescribeModel", model_name="waits0"))[0]["modelName"] == "waits0"
        assert ask(server.inference("ping")).status == 500
        answer = register(server, "a-1.0.mar", model_name="one_more")
        assert answer.status == 429 and answer.json["message"].startswith("expected at most 8 registrations"), answer
        with pytest.raises(grpc.RpcError) as refused:
            server.manage("RegisterModel", url="a-1.0.mar", model_name="one_more")
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert [ask(server.management(f"models/{name}"), None, "DELETE").status for name in names] == [200] * MOST_STARTING
        assert [answer.result(PATIENCE).status for answer in waiting] == [500] * MOST_STARTING
    assert register(server, "a-1.0.mar", model_name="one_more").status == 200


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("exits", "could not start: the worker exited with 3 while it loaded the model"),
        ("slow", "could not start: the worker did not load the model within its startupTimeout of 1 s"),
    ],
)
def test_the_log_knows_why_a_worker_does_not_start(server: ModelServerRun, name: str, why: str) -> None:
    assert register(server, f"{name}-1.0.mar", initial_workers=1).status == 500
    assert f"of {name} {why}" in server.log()


def test_a_worker_that_needs_more_memory_than_it_may_have_fails_to_start(server: ModelServerRun) -> None:
    answer = register(server, "grown-1.0.mar", initial_workers=1)
    assert answer.status == 507, answer
    words = "Failed to start workers for model grown version: 1.0: expected a worker that loads the model within its "
    assert answer.json["message"].startswith(f"{words}memoryLimitMiB of 1, got one with ")
    assert ask(server.management("models/grown")).status == 404


def test_a_change_that_is_not_kept_is_told_so(tmp_path: Path) -> None:
    store, state = tmp_path / "store", tmp_path / "state"
    make_mar(store, "a", handler=INNER)
    with ModelServerRun(tmp_path, store, "--enable-model-api", "--state", str(state)) as server:
        shutil.move(state, tmp_path / "away")  # as a disk that takes nothing
        answer = register(server, "a-1.0.mar")
        assert answer.status == 507 and answer.json["message"].startswith("the change is made, but could not be kept in "), (
            answer
        )
        assert ask(server.management("models/a")).status == 200
        with pytest.raises(grpc.RpcError) as refused:
            server.manage("SetDefault", model_name="a", model_version="1.0")
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        shutil.move(tmp_path / "away", state)
        assert ask(server.management("models/a/1.0/set-default"), None, "PUT").status == 200
    with ModelServerRun(tmp_path, store, "--state", str(state)) as server:
        assert ask(server.management("models/a")).status == 200
