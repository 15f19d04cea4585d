"""Predictions over gRPC and REST, by handlers under TorchServe's contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from persia.torchserve.schema import new_message
from tests.support.model_servers import ModelServerRun, ask, make_mar


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("predictions")
    store = directory / "store"
    make_mar(store, "probe")
    make_mar(store, "batched", config="batchSize: 4\nmaxBatchDelay: 500\n")
    with ModelServerRun(directory, store, "--models", "all", max_request_size=1_000_000, max_response_size=1_000_000) as run:
        run.wait_ready()
        yield run


def test_a_prediction_over_grpc(server: ModelServerRun) -> None:
    assert server.predict("probe", do="echo hello") == "hello"
    assert json.loads(server.predict("probe", do="inputs x", other="1")) == {
        "do": ["bytearray", "inputs x"],
        "other": ["bytearray", "1"],
    }
    assert server.predict("probe", do="other") == json.dumps([1.5, {"command": "other"}], indent=2)


def test_a_prediction_over_rest(server: ModelServerRun) -> None:
    answer = ask(server.inference("predictions/probe"), b"echo hello")
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers["pragma"] == "no-cache" and len(answer.headers["x-request-id"]) == 36
    assert answer.headers["content-type"] == ""
    assert ask(server.inference("predictions/probe/1.0"), b"echo of a version").body == b"of a version"


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("application/json", b'{"do": "inputs"}', {"body": ["dict", {"do": "inputs"}]}),
        ("text/plain; charset=utf-8", b"inputs", {"body": ["str", "inputs"]}),
        ("application/octet-stream", b"inputs", {"body": ["bytearray", "inputs"]}),
        ("application/json", b"inputs", {"body": ["bytearray", "inputs"]}),
        ("application/x-www-form-urlencoded", b"do=inputs&a=b+c", {"do": ["bytearray", "inputs"], "a": ["bytearray", "b c"]}),
        (
            "multipart/form-data; boundary=X",
            b'--X\r\nContent-Disposition: form-data; name="do"\r\n\r\ninputs\r\n--X\r\n'
            b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nwords'
            b"\r\n--X--\r\n",
            {"do": ["bytearray", "inputs"], "file": ["str", "words"]},
        ),
    ],
)
def test_bodies_become_inputs(server: ModelServerRun, kind: str, data: bytes, expected: object) -> None:
    assert ask(server.inference("predictions/probe"), data, headers={"Content-Type": kind}).json == expected


def test_headers_and_paths_reach_the_handler(server: ModelServerRun) -> None:
    headers = {"Content-Type": "text/plain", "X-Own": "mine"}
    seen = ask(server.inference("predictions/probe/1.0/v1/chat"), b"headers", headers=headers).json
    assert seen["url_path"] == "v1/chat" and seen["explain"] == "False" and seen["X-Own"] == "mine"
    assert seen["body"] == {"content-type": "text/plain"}
    assert ask(server.inference("explanations/probe"), b"headers").json["explain"] == "True"
    assert ask(server.inference("v1/models/probe:explain"), b"headers").json["explain"] == "True"
    assert ask(server.inference("v1/models/probe:predict"), b"echo a").body == b"a"
    assert ask(server.inference("models/probe/invoke?do=echo+b"), b"").body == b"b"
    assert ask(server.inference("invocations?model_name=probe&do=echo+c"), b"").body == b"c"


def test_a_handler_sets_status_and_headers(server: ModelServerRun) -> None:
    answer = ask(server.inference("predictions/probe"), b"status 418")
    assert (answer.status, answer.reason, answer.body) == (418, "By The Handler", b"with a status")
    assert answer.headers["x-of"] == "handler" and answer.headers["content-type"] == "text/x-own"


@pytest.mark.parametrize(
    ("command", "status", "message", "code"),
    [
        ("refuse 404", 404, "as you wish", grpc.StatusCode.NOT_FOUND),
        ("refuse 413", 507, "as you wish", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("refuse 429", 429, "as you wish", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("refuse 599", 599, "as you wish", grpc.StatusCode.INTERNAL),
        ("raise", 503, "Prediction failed", grpc.StatusCode.UNAVAILABLE),
        ("none", 503, "Invalid model predict output", grpc.StatusCode.UNAVAILABLE),
        ("few", 503, "number of batch response mismatched", grpc.StatusCode.UNAVAILABLE),
        ("object", 503, "Unsupported model output data type.", grpc.StatusCode.UNAVAILABLE),
        ("large 1000001", 507, "the handler's answer is larger than max_response_size", grpc.StatusCode.INTERNAL),
    ],
)
def test_what_a_handler_does_wrong_is_told(
    server: ModelServerRun, command: str, status: int, message: str, code: grpc.StatusCode
) -> None:
    answer = ask(server.inference("predictions/probe"), command.encode())
    assert answer.status == status
    assert (
        answer.body.decode()
        == json.dumps({"code": status, "type": "InternalServerException", "message": message}, indent=2) + "\n"
    )
    assert server.failure("probe", do=command) == (code, message)
    assert server.predict("probe", do="echo still here") == "still here"


def test_unknown_models_and_versions(server: ModelServerRun) -> None:
    assert server.failure("other", do="echo") == (grpc.StatusCode.NOT_FOUND, "Model not found: other")
    answer = ask(server.inference("predictions/other"), b"echo")
    assert (answer.status, answer.json["type"]) == (404, "ModelNotFoundException")
    answer = ask(server.inference("predictions/probe/9.9"), b"echo")
    assert answer.json["message"] == "Model version: 9.9 does not exist for model: probe"
    assert server.failure("", do="echo") == (grpc.StatusCode.INVALID_ARGUMENT, "Parameter model_name is required.")
    assert ask(server.inference("predictions"), b"x").status == 404
    assert ask(server.inference("invocations"), b"x").json["message"] == "Parameter model_name is required."
    assert ask(server.inference("nothing/here"), b"x").json["type"] == "ResourceNotFoundException"


def test_answers_are_streamed_over_both(server: ModelServerRun) -> None:
    answer = ask(server.inference("predictions/probe"), b"stream 3")
    assert answer.body == b"part 0;part 1;part 2;end" and answer.headers["transfer-encoding"] == "chunked"
    with grpc.insecure_channel(server.places["grpc_inference"]) as channel:
        call: Any = channel.unary_stream("/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions")
        request = new_message("PredictionsRequest", model_name="probe", input={"do": b"stream 2"}).SerializeToString()
        assert len(list(call(request, timeout=20))) == 3
        request = new_message("PredictionsRequest", model_name="probe", input={"do": b"echo lone"}).SerializeToString()
        assert len(list(call(request, timeout=20))) == 1


def test_requests_are_batched(server: ModelServerRun) -> None:
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda _: server.predict("batched", do="batch"), range(4)))
    assert sizes == ["4"] * 4
    assert server.predict("batched", do="batch") == "1"


def test_a_request_that_is_too_large(server: ModelServerRun) -> None:
    assert ask(server.inference("predictions/probe"), b"x" * 1_000_001).status == 413


def test_an_abandoned_request_that_waits_is_not_begun(server: ModelServerRun) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(server.predict, "probe", do="sleep 0.5")
        with pytest.raises(grpc.RpcError) as raised:
            server.predict("probe", timeout=0.2, do="die")
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert slow.result() == "slept"
    assert server.predict("probe", do="echo nobody died") == "nobody died"


def test_ping_and_health(server: ModelServerRun) -> None:
    assert ask(server.inference("ping")).json == {"status": "Healthy"}
    with grpc.insecure_channel(server.places["grpc_inference"]) as channel:
        call: Any = channel.unary_unary("/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping")
        assert b'{\n  "status": "Healthy"\n}' in call(b"", timeout=20)


def test_archives_that_are_none_stay_out(server: ModelServerRun, tmp_path: Path) -> None:
    assert ask(server.management("models?url=x.mar"), b"", "POST").status == 405  # the model API is off
