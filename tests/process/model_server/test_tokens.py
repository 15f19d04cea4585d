"""Who is let in: TorchServe's keys, keys that somebody else has made, and the tokens of the section `security`."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest

from persia.torchserve.schema import management_call, new_message, open_channel, predictions_call
from tests.support.certified import TOKEN, token_file
from tests.support.model_servers import Answer, ModelServerRun, ask, make_mar
from tests.support.servers import PATIENCE, wait_until

REFUSED = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
UNKNOWN = "the caller has shown neither a token that this server knows nor a certificate"
GIVEN = {"inference": {"key": "predicts-1"}, "management": {"key": ["manages-1", "manages-2"]}, "API": {"key": "renews-1"}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("tokens") / "store"
    make_mar(store, "probe")
    return store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("keys")
    with ModelServerRun(directory, store, "--models", "all", disable_token_authorization=None) as run:
        wait_until(lambda: _ping(run, keys_of(run)["inference"]).status == 200, "the model is ready")
        yield run


def keys_of(server: ModelServerRun) -> dict[str, str]:
    """As the key file has them."""
    entries = json.loads((server.log_path.parent / "key_file.json").read_text())
    return {kind: entry["key"] for kind, entry in entries.items()}


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _ping(server: ModelServerRun, key: str) -> Answer:
    return ask(server.inference("ping"), headers=_bearer(key))


def _predict(server: ModelServerRun, authorization: str | None) -> tuple[grpc.StatusCode, str]:
    """How a prediction over gRPC ends, and its answer or words."""
    metadata = None if authorization is None else (("authorization", authorization),)
    request = new_message("PredictionsRequest", model_name="probe", input={"do": b"echo in"})
    with open_channel(server.places["grpc_inference"]) as channel:
        return _outcome(lambda: predictions_call(channel)(request, timeout=20, metadata=metadata).prediction.decode())


def _describe(server: ModelServerRun, key: str) -> tuple[grpc.StatusCode, str]:
    request = new_message("DescribeModelRequest", model_name="probe")
    with open_channel(server.places["grpc_management"]) as channel:
        call = management_call(channel, "DescribeModel")
        return _outcome(lambda: call(request, timeout=20, metadata=(("authorization", f"Bearer {key}"),)).msg)


def _outcome(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    try:
        return grpc.StatusCode.OK, str(call())
    except grpc.RpcError as error:
        return error.code(), error.details() or ""


def test_the_key_file_is_as_torchserve_writes_it(server: ModelServerRun) -> None:
    file = server.log_path.parent / "key_file.json"
    assert file.stat().st_mode & 0o777 == 0o600
    entries = json.loads(file.read_text())
    assert set(entries) == {"inference", "management", "API"}
    assert all(len(entry["key"]) == 8 for entry in entries.values())
    assert "expiration time" not in entries["API"]
    left = datetime.fromisoformat(entries["inference"]["expiration time"].replace("Z", "+00:00")) - datetime.now(timezone.utc)
    assert 0 < left.total_seconds() <= 3600


def test_a_right_key_is_let_in(server: ModelServerRun) -> None:
    keys = keys_of(server)
    assert ask(server.inference("predictions/probe"), b"echo in", headers=_bearer(keys["inference"])).body == b"in"
    assert _predict(server, f"Bearer {keys['inference']}") == (grpc.StatusCode.OK, "in")
    assert ask(server.management("models"), headers=_bearer(keys["management"])).status == 200
    assert _describe(server, keys["management"])[0] is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "form", ["", "wrong", "Bearer", "Bearer wrong", "Bearer {management}", "{inference}", "bearer {inference}"]
)
def test_others_are_refused_as_torchserve_refuses_them(server: ModelServerRun, form: str) -> None:
    authorization = form.format(**keys_of(server))
    answer = ask(server.inference("predictions/probe"), b"echo in", headers={"Authorization": authorization})
    assert (answer.status, answer.json) == (400, {"code": 400, "type": "InvalidKeyException", "message": REFUSED})
    assert ask(server.inference("ping"), headers={"Authorization": authorization}).status == 400
    assert _predict(server, authorization or None) == (grpc.StatusCode.PERMISSION_DENIED, REFUSED)


def test_a_key_for_predictions_manages_nothing(server: ModelServerRun) -> None:
    key = keys_of(server)["inference"]
    assert ask(server.management("models"), headers=_bearer(key)).status == 400
    assert _describe(server, key) == (grpc.StatusCode.PERMISSION_DENIED, REFUSED)


def test_metrics_need_no_key(server: ModelServerRun) -> None:
    assert "persia_model_answers_total" in server.metrics()


def test_a_new_key_takes_the_place_of_the_old_one(server: ModelServerRun) -> None:
    before = keys_of(server)
    answer = ask(server.management("token?type=inference"), headers=_bearer(before["API"]))
    assert (answer.status, answer.body) == (200, b"\n")
    after = keys_of(server)
    assert after["inference"] != before["inference"] and after["management"] == before["management"]
    assert _predict(server, f"Bearer {before['inference']}")[0] is grpc.StatusCode.PERMISSION_DENIED
    assert _ping(server, before["inference"]).status == 400
    assert _predict(server, f"Bearer {after['inference']}") == (grpc.StatusCode.OK, "in")


@pytest.mark.parametrize("path", ["token?type=inference", "%74oken?type=inference", "token/?type=inference"])
def test_a_key_for_management_makes_no_keys(server: ModelServerRun, path: str) -> None:
    before = keys_of(server)
    answer = ask(server.management(path), headers=_bearer(before["management"]))
    assert (answer.status, answer.json["message"]) == (400, REFUSED.replace("Authorization", "Authentication"))
    assert keys_of(server) == before


@pytest.mark.parametrize("query", ["", "?type=other", "?type=API"])
def test_keys_of_no_kind_are_not_made(server: ModelServerRun, query: str) -> None:
    answer = ask(server.management(f"token{query}"), headers=_bearer(keys_of(server)["API"]))
    assert (answer.status, answer.json["type"]) == (400, "InvalidKeyException")


def test_keys_come_to_their_end_and_go_with_the_server(tmp_path: Path, store: Path) -> None:
    with ModelServerRun(tmp_path, store, disable_token_authorization=None, token_expiration_min=0) as server:
        assert _ping(server, keys_of(server)["inference"]).status == 400
        assert server.stop() == 0
        assert not (tmp_path / "key_file.json").exists()


def test_a_second_server_that_cannot_listen_takes_no_keys_away(server: ModelServerRun, store: Path) -> None:
    before = keys_of(server)
    with pytest.raises(AssertionError, match="address"):
        ModelServerRun(
            server.log_path.parent / "second",
            store,
            disable_token_authorization=None,
            inference_address=f"http://{server.places['inference']}",
        )
    assert not (server.log_path.parent / "second" / "key_file.json").exists()
    assert keys_of(server) == before


def _write_keys(file: Path, keys: object, mode: int = 0o600) -> None:
    fresh = file.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(keys))
    fresh.chmod(mode)
    fresh.replace(file)


def test_keys_may_be_given_and_change_while_the_server_runs(tmp_path: Path, store: Path) -> None:
    file = tmp_path / "keys.json"
    _write_keys(file, GIVEN)
    with ModelServerRun(tmp_path, store, disable_token_authorization=None, token_file=file) as server:
        assert _ping(server, "predicts-1").status == 200
        assert [ask(server.management("models"), headers=_bearer(key)).status for key in ("manages-1", "manages-2")] == [
            200,
            200,
        ]
        refused = ask(server.management("token?type=inference"), headers=_bearer("renews-1"))
        assert (refused.status, refused.json["message"]) == (
            400,
            "the keys of this server are those of a file: write inference key there, and it counts",
        )
        _write_keys(file, {**GIVEN, "inference": {"key": "predicts-2"}})
        wait_until(lambda: _ping(server, "predicts-2").status == 200, "the new key counts")
        assert _ping(server, "predicts-1").status == 400
        _write_keys(file, {**GIVEN, "inference": {"key": "predicts-3"}}, mode=0o644)
        wait_until(lambda: "keys.json" in server.log(), "the log says what is wrong")
        assert _ping(server, "predicts-2").status == 200
        assert not (tmp_path / "key_file.json").exists()


@pytest.mark.parametrize(
    ("keys", "mode", "words"),
    [
        (GIVEN, 0o644, "keys.json"),
        ({"inference": {"key": "predicts-1"}}, 0o600, "expected an object with 'inference' and 'management'"),
        ({**GIVEN, "inference": {"key": "short"}}, 0o600, "expected keys of at least 8 characters"),
        ({**GIVEN, "inference": "predicts-1"}, 0o600, "expected an object with a `key`"),
        ({**GIVEN, "API": {"key": "renews-1", "expiration time": "soon"}}, 0o600, "expected a time such as"),
    ],
)
def test_files_of_keys_that_are_of_no_use(tmp_path: Path, store: Path, keys: object, mode: int, words: str) -> None:
    _write_keys(tmp_path / "keys.json", keys, mode)
    with pytest.raises(AssertionError, match=words):
        ModelServerRun(tmp_path, store, disable_token_authorization=None, token_file=tmp_path / "keys.json")


def _section(directory: Path, **keys: object) -> dict[str, str]:
    """The environment of a server with this section."""
    path = directory / "global_config.yaml"
    path.write_text(json.dumps({"security": keys}))
    return {"PERSIA_GLOBAL_CONFIG": str(path)}


def test_tokens_of_the_section_take_the_place_of_keys(tmp_path: Path, store: Path) -> None:
    environment = _section(tmp_path, tokens=token_file(tmp_path))
    arguments = ("--models", "all")
    with ModelServerRun(tmp_path, store, *arguments, environment=environment, disable_token_authorization=None) as server:
        wait_until(lambda: _ping(server, TOKEN).status == 200, "the model is ready")
        assert not (tmp_path / "key_file.json").exists()
        assert _predict(server, f"Bearer {TOKEN}") == (grpc.StatusCode.OK, "in")
        assert _predict(server, "Bearer wrong") == (grpc.StatusCode.UNAUTHENTICATED, UNKNOWN)
        answer = ask(server.inference("ping"))
        assert (answer.status, answer.headers["www-authenticate"], answer.json["message"]) == (401, "Bearer", UNKNOWN)
        assert ask(f"http://{server.places['metrics']}/metrics").status == 401
        assert ask(f"http://{server.places['metrics']}/metrics", headers=_bearer(TOKEN)).status == 200


def test_nothing_that_is_open_listens_beyond_this_machine(tmp_path: Path, store: Path) -> None:
    everywhere = "http://0.0.0.0:0"
    with pytest.raises(
        AssertionError,
        match=r"other machines can reach the listener on 0\.0\.0\.0:0[^\n]*of global_config.yaml[^\n]*keys are a way, too",
    ):
        ModelServerRun(tmp_path / "open", store, inference_address=everywhere)
    with ModelServerRun(tmp_path / "keys", store, disable_token_authorization=None, inference_address=everywhere) as server:
        assert "takes tokens in plain text" in server.log()
    insecure = _section(tmp_path, insecure=True)
    with ModelServerRun(tmp_path / "insecure", store, environment=insecure, inference_address=everywhere) as server:
        assert "plain text" not in server.log()


def test_who_is_refused_sends_no_body(server: ModelServerRun) -> None:
    host, port = server.places["inference"].split(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(b"POST /predictions/probe HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 400"


def test_the_environment_asks_for_no_keys(tmp_path: Path, store: Path) -> None:
    environment = {**os.environ, "TS_DISABLE_TOKEN_AUTHORIZATION": "true"}
    with ModelServerRun(tmp_path, store, environment=environment, disable_token_authorization=None) as server:
        assert ask(server.inference("ping")).status == 200


@pytest.mark.parametrize("shown", ["Bearer wrong", "the key"])
def test_several_authorizations_are_refused_whatever_they_are(server: ModelServerRun, shown: str) -> None:
    key = f"Bearer {keys_of(server)['inference']}"
    values = [key if shown == "the key" else shown, key]
    host, port = server.places["inference"].split(":")
    headers = "".join(f"authorization: {value}\r\n" for value in values)
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        connection.sendall(f"GET /ping HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    request = new_message("PredictionsRequest", model_name="probe", input={"do": b"echo in"})
    with open_channel(server.places["grpc_inference"]) as channel:
        metadata = tuple(("authorization", value) for value in values)
        outcome = _outcome(lambda: predictions_call(channel)(request, timeout=20, metadata=metadata).prediction.decode())
    assert outcome == (grpc.StatusCode.INVALID_ARGUMENT, "expected one header 'authorization', got several")
