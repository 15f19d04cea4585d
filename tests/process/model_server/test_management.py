"""Management of a model server, over REST and gRPC, and what its workers' deaths cost."""

from __future__ import annotations

import json
import os
import signal
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.model_servers import ModelServerRun, ask, make_mar
from tests.support.servers import wait_until

pytestmark = pytest.mark.whole_way


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("management") / "store"
    make_mar(store, "probe")
    make_mar(store, "probe", "2.0")
    make_mar(store, "fails_to_load")
    return store


@pytest.fixture
def server(tmp_path: Path, store: Path) -> Iterator[ModelServerRun]:
    with ModelServerRun(tmp_path, store, "--enable-model-api") as run:
        yield run


def _post(server: ModelServerRun, query: str) -> tuple[int, str]:
    answer = ask(server.management(f"models?{query}"), b"", "POST")
    return answer.status, answer.json.get("status") or answer.json["message"]


def test_a_model_lives_and_goes_over_rest(server: ModelServerRun) -> None:
    assert _post(server, "url=probe-1.0.mar") == (
        200,
        'Model "probe" Version: 1.0 registered with 0 initial workers. Use scale workers API to add workers for the model.',
    )
    assert ask(server.inference("predictions/probe"), b"echo").status == 503
    scaled = ask(server.management("models/probe?min_worker=2&synchronous=true"), b"", "PUT")
    assert (scaled.status, scaled.json) == (200, {"status": "Workers scaled to 2 for model: probe"})
    assert [worker["status"] for worker in server.workers("probe")] == ["READY", "READY"]
    assert [worker["id"] for worker in server.workers("probe")] == ["9000", "9001"]
    assert _post(server, "url=probe-1.0.mar") == (409, "Model version 1.0 is already registered for model probe")
    assert _post(server, "url=probe-2.0.mar&initial_workers=1") == (
        200,
        'Model "probe" Version: 2.0 registered with 1 initial workers',
    )
    default = ask(server.management("models/probe/2.0/set-default"), b"", "PUT")
    assert default.json == {"status": 'Default version successfully updated for model "probe" to "2.0"'}
    assert [one["modelVersion"] for one in ask(server.management("models/probe/all")).json] == ["1.0", "2.0"]
    assert ask(server.management("models/probe/2.0"), None, "DELETE").status == 403
    assert ask(server.management("models/probe/1.0"), None, "DELETE").json == {"status": 'Model "probe" unregistered'}
    assert ask(server.management("models")).json == {"models": [{"modelName": "probe", "modelUrl": "probe-2.0.mar"}]}
    assert ask(server.management("models/probe"), None, "DELETE").status == 200
    assert ask(server.management("models/probe")).json["type"] == "ModelNotFoundException"


def test_a_model_lives_and_goes_over_grpc(server: ModelServerRun) -> None:
    server.manage("RegisterModel", url="probe-1.0.mar", initial_workers=1, synchronous=True)
    assert server.predict("probe", do="echo a") == "a"
    assert json.loads(server.manage("DescribeModel", model_name="probe"))[0]["minWorkers"] == 1
    assert json.loads(server.manage("ListModels", limit=10))["models"][0]["modelUrl"] == "probe-1.0.mar"
    cases: list[tuple[grpc.StatusCode, str, str, dict[str, Any]]] = [
        (grpc.StatusCode.ALREADY_EXISTS, "already registered", "RegisterModel", {"url": "probe-1.0.mar"}),
        (grpc.StatusCode.NOT_FOUND, "Model not found", "DescribeModel", {"model_name": "other"}),
        (grpc.StatusCode.NOT_FOUND, "does not exist", "SetDefault", {"model_name": "probe", "model_version": "7"}),
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            "max_worker cannot",
            "ScaleWorker",
            {"model_name": "probe", "min_worker": 2, "max_worker": 1},
        ),
    ]
    for code, words, operation, fields in cases:
        with pytest.raises(grpc.RpcError, match=words) as raised:
            server.manage(operation, **fields)
        assert raised.value.code() is code
    assert server.manage("UnregisterModel", model_name="probe") == 'Model "probe" unregistered'


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "Parameter url is required."),
        ("url=missing.mar", 404, "Model not found at: "),
        ("url=../probe-1.0.mar", 404, "Relative path is not allowed in url: ../probe-1.0.mar"),
        ("url=http://127.0.0.1/x.mar", 404, "does not match any allowed URL(s)"),
        ("url=probe-1.0.mar&runtime=python4", 400, "Invalid RuntimeType value: python4"),
        ("url=fails_to_load-1.0.mar&initial_workers=1", 500, "Failed to start workers for model fails_to_load version: 1.0"),
    ],
)
def test_registrations_that_fail(server: ModelServerRun, query: str, status: int, words: str) -> None:
    got, message = _post(server, query)
    assert got == status and words in message
    assert ask(server.management("models")).json == {"models": []}


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "..\\evil.py"])
def test_members_outside_of_the_archive_are_refused(server: ModelServerRun, store: Path, name: str) -> None:
    with zipfile.ZipFile(store / "evil.mar", "w") as archive:
        archive.writestr(name, "print(1)")
    status, message = _post(server, "url=evil.mar")
    assert status == 400 and "a member outside of the archive" in message
    (store / "broken.mar").write_bytes(b"no archive at all")
    assert _post(server, "url=broken.mar")[0] == 400


def test_a_worker_that_dies_costs_its_own_request_and_comes_back(server: ModelServerRun) -> None:
    server.manage("RegisterModel", url="probe-1.0.mar", initial_workers=1, synchronous=True)
    for command in ("die", "exit"):
        assert server.failure("probe", do=command) == (grpc.StatusCode.INTERNAL, "Worker died.")
        assert server.predict("probe", do="echo again") == "again"
    pid = int(server.predict("probe", do="pid"))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in [worker["pid"] for worker in server.workers("probe")], "the server has seen it die")
    assert int(server.predict("probe", do="pid")) != pid


def test_a_handler_that_never_returns_is_ended(tmp_path: Path, store: Path) -> None:
    make_mar(store, "hangs", config="minWorkers: 1\nmaxWorkers: 1\nresponseTimeout: 1\n")
    with ModelServerRun(tmp_path, store, "--models", "hangs-1.0.mar") as server:
        server.wait_ready()
        pid = int(server.predict("hangs", do="pid"))
        assert server.failure("hangs", do="sleep 600") == (grpc.StatusCode.INTERNAL, "Worker died.")
        assert server.predict("hangs", do="echo again") == "again"
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the worker is ended")


def test_nothing_is_lost_while_versions_come_and_go(server: ModelServerRun) -> None:
    server.manage("RegisterModel", url="probe-1.0.mar", initial_workers=2, synchronous=True)
    failed: list[str] = []
    answered = [0]
    done = threading.Event()

    def ask_on() -> None:
        while not done.is_set():
            try:
                assert server.predict("probe", do="echo x") == "x"
                answered[0] += 1
            except grpc.RpcError as error:
                failed.append(f"{error.code()}: {error.details()}")

    callers = [threading.Thread(target=ask_on) for _ in range(3)]
    for caller in callers:
        caller.start()
    versions = ["1.0", "2.0"]
    for _ in range(3):
        old, new = versions
        server.manage("RegisterModel", url=f"probe-{new}.mar", initial_workers=1, synchronous=True)
        server.manage("SetDefault", model_name="probe", model_version=new)
        server.manage("UnregisterModel", model_name="probe", model_version=old)
        server.manage("ScaleWorker", model_name="probe", min_worker=2, synchronous=True)
        server.manage("ScaleWorker", model_name="probe", min_worker=1, synchronous=True)
        versions.reverse()
    done.set()
    for caller in callers:
        caller.join()
    assert failed == [] and answered[0] > 0


def test_a_server_that_stops_answers_what_it_has(tmp_path: Path, store: Path) -> None:
    with ModelServerRun(tmp_path, store, "--models", "probe-1.0.mar") as server:
        server.wait_ready()
        answers: list[str] = []
        asked = tmp_path / "asked"
        caller = threading.Thread(target=lambda: answers.append(server.predict("probe", do=f"touch {asked}")))
        caller.start()
        wait_until(asked.exists, "the handler is asked")
        pid = server.workers("probe")[0]["pid"]
        assert server.stop() == 0
        caller.join()
        assert answers == ["touched"]
        assert not Path(f"/proc/{pid}").exists()


def test_a_place_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"other machines can reach the listener on 0\.0\.0\.0:0"):
        ModelServerRun(tmp_path, tmp_path, inference_address="http://0.0.0.0:0")


def test_two_servers_and_a_place_that_is_taken(tmp_path: Path, server: ModelServerRun) -> None:
    taken = f"http://{server.places['inference']}"
    with pytest.raises(AssertionError, match="expected a free address to listen on"):
        ModelServerRun(tmp_path / "other", tmp_path, inference_address=taken)
