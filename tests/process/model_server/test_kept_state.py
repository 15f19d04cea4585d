"""What was changed over the API survives a restart, and a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.model_servers import HANDLERS, ModelServerRun, ask, make_mar
from tests.support.servers import PATIENCE, wait_until

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
INNER = HANDLERS / "inner.py"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    for version in ("1.0", "2.0"):
        make_mar(store, "a", version, INNER)
    make_mar(store, "b", handler=INNER)
    return store


def serve(tmp_path: Path, store: Path, *models: str) -> ModelServerRun:
    named = ["--models", *models] if models else []
    return ModelServerRun(tmp_path, store, "--enable-model-api", "--state", str(tmp_path / "state"), *named)


def change(server: ModelServerRun, method: str, path: str) -> Any:
    answer = ask(server.management(path), b"" if method == "POST" else None, method)
    assert answer.status == 200, answer
    return answer.json


def described(server: ModelServerRun, name: str) -> list[tuple[str, int, int, int]]:
    versions = ask(server.management(f"models/{name}/all")).json
    return [(one["modelVersion"], one["minWorkers"], len(one["workers"]), one["batchSize"]) for one in versions]


def test_changes_survive_a_kill(tmp_path: Path, store: Path) -> None:
    with serve(tmp_path, store) as server:
        change(server, "POST", "models?url=a-1.0.mar&initial_workers=1&batch_size=3")
        change(server, "POST", "models?url=a-2.0.mar&initial_workers=1")
        change(server, "POST", "models?url=b-1.0.mar&initial_workers=1&model_name=renamed")
        change(server, "PUT", "models/a/2.0?min_worker=2&synchronous=true")
        change(server, "PUT", "models/a/2.0/set-default")
        change(server, "PUT", "models/a/traffic?weights=1.0:1,2.0:3&sticky_by=x-user&shadow=1.0")
        change(server, "DELETE", "models/renamed")
        server.process.kill()
        server.process.wait(PATIENCE)
    with serve(tmp_path, store) as server:
        server.wait_ready()
        assert [one["modelName"] for one in ask(server.management("models")).json["models"]] == ["a"]
        assert described(server, "a") == [("1.0", 1, 1, 3), ("2.0", 2, 2, 1)]
        assert ask(server.management("models/a")).json[0]["modelVersion"] == "2.0"
        assert ask(server.management("models/a/traffic")).json["weights"] == {"1.0": 1, "2.0": 3}


def test_a_model_of_the_command_line_that_was_unregistered_stays_away(tmp_path: Path, store: Path) -> None:
    with serve(tmp_path, store, "a-1.0.mar") as server:
        server.wait_ready()
        change(server, "DELETE", "models/a")
    with serve(tmp_path, store, "a-1.0.mar", "b-1.0.mar") as server:
        assert [one["modelName"] for one in ask(server.management("models")).json["models"]] == ["b"]


def test_a_model_whose_archive_is_missing_comes_back_with_it(tmp_path: Path, store: Path) -> None:
    with serve(tmp_path, store) as server:
        change(server, "POST", "models?url=b-1.0.mar&initial_workers=1")
    (store / "b-1.0.mar").rename(tmp_path / "away.mar")
    with serve(tmp_path, store) as server:
        assert ask(server.management("models")).json == {"models": []}
        assert ask(server.inference("ping")).json == {"status": "Unhealthy", "missing": ["b"]}
        change(server, "POST", "models?url=a-1.0.mar")
    (tmp_path / "away.mar").rename(store / "b-1.0.mar")
    with serve(tmp_path, store) as server:
        server.wait_ready()
        assert described(server, "b") == [("1.0", 1, 1, 1)] and described(server, "a") == [("1.0", 0, 0, 1)]


def test_a_broken_state_is_no_server(tmp_path: Path, store: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "models.json").write_text("{")
    with pytest.raises(AssertionError, match="mend the file, or remove it to start with --models alone"):
        serve(tmp_path, store)


def test_a_state_has_one_server(tmp_path: Path, store: Path) -> None:
    with serve(tmp_path, store), pytest.raises(AssertionError, match="which another model server has"):
        ModelServerRun(tmp_path / "other", store, "--state", str(tmp_path / "state"))


def test_a_server_is_not_ready_without_a_model_of_its_start(tmp_path: Path, store: Path) -> None:
    (store / "broken-1.0.mar").write_text("no archive")
    with serve(tmp_path, store, "a-1.0.mar", "broken-1.0.mar") as server:
        wait_until(lambda: server.predict("a", do="version") == "1.0", "the model is ready")
        ping = ask(server.inference("ping"))
        assert (ping.status, ping.json) == (500, {"status": "Unhealthy", "missing": ["broken-1.0"]})
        ready = ask(server.inference("v2/health/ready"))
        assert (ready.status, ready.json) == (400, {"ready": False, "missing": ["broken-1.0"]})
        with grpc.insecure_channel(server.places["grpc_inference"]) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            asked = health_pb2.HealthCheckRequest()
            assert check(asked, timeout=PATIENCE).status == NOT_SERVING
            change(server, "DELETE", "models/broken-1.0")
            assert ask(server.inference("ping")).status == 200
            wait_until(lambda: check(asked, timeout=PATIENCE).status == SERVING, "health checks hear of it")
        assert "the server is not ready without broken-1.0: register what is missing" in server.log()


def test_what_was_registered_is_not_named_again(tmp_path: Path, store: Path) -> None:
    with serve(tmp_path, store) as server:
        change(server, "POST", "models?url=b-1.0.mar")
    with serve(tmp_path, store, "all") as server:
        server.wait_ready()
        assert "ERROR" not in server.log() and "was not loaded" not in server.log()
        assert ask(server.management("models/a")).json[0]["modelVersion"] == "2.0"  # the newest of the store
