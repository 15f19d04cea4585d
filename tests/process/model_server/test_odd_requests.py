"""Requests that nobody sends by mistake: they are refused or answered, and the worker and the other callers notice nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import grpc
import pytest

from persia.torchserve.schema import new_message, open_channel, predictions_call
from tests.support.model_servers import HANDLERS, ModelServerRun, ask, make_mar
from tests.support.servers import PATIENCE

JSON = {"Content-Type": "application/json"}
HUGE = 1 << 62


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("odd")
    store = directory / "store"
    make_mar(store, "probe")
    make_mar(store, "tensors", handler=HANDLERS / "echo_tensors.py")
    make_mar(store, "many", config="minWorkers: 1000000000\nmaxWorkers: 1000000000\n")
    models = ["--models", "probe-1.0.mar", "--models", "tensors-1.0.mar"]
    with ModelServerRun(directory, store, *models, "--enable-model-api") as run:
        run.wait_ready()
        yield run


@pytest.fixture
def worker(server: ModelServerRun) -> Iterator[str]:
    """The worker's process, which is the same afterwards."""
    pid = server.predict("probe", do="pid")
    yield pid
    assert server.predict("probe", do="pid") == pid


def test_headers_that_are_no_utf8_are_latin1(server: ModelServerRun, worker: str) -> None:
    answer = ask(server.inference("predictions/probe"), b"headers", headers={"x-a": "\xff"})
    assert {name.lower(): value for name, value in answer.json.items()}["x-a"] == "\xff"


@pytest.mark.parametrize(
    "path",
    [
        "predictions/%ff",
        "predictions/probe/%ff",
        "explanations/%c0%80",
        "v1/models/%ff:predict",
        "invocations?model_name=%ff",
        "models/%ff/invoke",
        "v2/models/%ed%a0%80/infer",
        "v2/models/probe/versions/%ff/infer",
    ],
)
def test_names_of_models_that_are_no_utf8_are_refused_in_json(server: ModelServerRun, path: str) -> None:
    answer = ask(server.inference(path), b"{}")
    assert answer.status == 400
    words = answer.json["error" if path.startswith("v2/") else "message"]
    assert words == "expected a target that is UTF-8 when it is decoded, got other bytes"


def test_a_path_behind_the_version_may_be_any_bytes(server: ModelServerRun, worker: str) -> None:
    """A handler gets it as it gets headers."""
    answer = ask(server.inference("predictions/probe/1.0/a/%ff"), b"headers")
    assert answer.json["url_path"] == "a/\xff"


def test_words_that_are_no_utf8_are_quoted_as_json(server: ModelServerRun) -> None:
    answer = ask(server.inference("v2/models/probe/infer"), b"{}", headers={"Content-Encoding": "\xff"})
    assert (answer.status, answer.json["error"][-3:]) == (415, ": \xff")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"[" * 100_000 + b"]" * 100_000, JSON, 200),  # the handler gets its bytes
        (json.dumps({"do": "echo \ud800"}).encode(), JSON, 503),
        (b"\xff\xfe", {"Content-Type": "text/plain"}, 503),
    ],
)
def test_bodies_that_nothing_can_be_made_of(
    server: ModelServerRun, worker: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert ask(server.inference("predictions/probe"), body, headers=headers).status == status


@pytest.mark.parametrize("shape", [[0, HUGE], [1] * 65, [HUGE, HUGE]])
def test_shapes_that_no_array_can_have(server: ModelServerRun, shape: list[int]) -> None:
    data = [1] if 0 not in shape and HUGE not in shape else []
    call = {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": data}]}
    answer = ask(server.inference("v2/models/tensors/infer"), json.dumps(call).encode(), headers=JSON)
    assert answer.status == 400 and "the tensor 'x': expected" in answer.json["error"], answer.body


def test_data_nested_too_deep(server: ModelServerRun) -> None:
    data = "[" * 100_000 + "]" * 100_000
    call = f'{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [1], "data": {data}}}]}}'
    answer = ask(server.inference("v2/models/tensors/infer"), call.encode(), headers=JSON)
    assert answer.status == 400, answer.body


def test_management_goes_on_after_names_that_are_no_text(server: ModelServerRun) -> None:
    for _ in range(5):  # there are four threads
        answer = ask(server.management("models"), b'{"url": "\\ud800"}', "POST", JSON)
        assert answer.status == 400 and answer.json["message"].startswith("expected text that UTF-8 can hold, got "), answer
    assert ask(server.management("models")).status == 200


def test_more_workers_than_a_version_may_have(server: ModelServerRun) -> None:
    answer = ask(server.management("models/probe?min_worker=1000000000"), method="PUT")
    assert (answer.status, answer.json["message"]) == (400, "expected at most 1000 workers of a version, got 1000000000")
    answer = ask(server.management("models?url=many-1.0.mar"), method="POST")
    assert (answer.status, answer.json["message"]) == (400, "expected at most 1000 workers of a version, got 1000000000")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body(server: ModelServerRun, worker: str, status: int) -> None:
    answer = ask(server.inference("predictions/probe"), f"status {status}".encode())
    assert (answer.status, answer.body, answer.headers["content-length"]) == (status, b"", "")


@pytest.mark.parametrize("status", ["0", "-1", "100", "199", "600", "999", "99999999999", '"text"', "1.5", "true"])
def test_a_status_that_http_does_not_have_fails_its_request_by_name(server: ModelServerRun, worker: str, status: str) -> None:
    answer = ask(server.inference("predictions/probe"), f"status {status}".encode())
    shown = repr(json.loads(status))
    assert answer.status == 500, answer
    assert answer.json["message"] == f"expected a status from 200 to 599 of the handler, got {shown}"
    assert server.predict("probe", do=f"status {status}") == "with a status"  # gRPC has none to be sent


@pytest.mark.parametrize("status", [0, 100, 999])
def test_a_refusal_with_a_status_that_http_does_not_have(server: ModelServerRun, worker: str, status: int) -> None:
    answer = ask(server.inference("predictions/probe"), f"refuse {status}".encode())
    assert answer.status == 500, answer
    assert answer.json["message"] == (
        f"expected a status from 200 to 599 of the handler's PredictionException, got {status}: as you wish"
    )


@pytest.mark.parametrize("size", [65_536, 65_537, 200_000])
def test_a_header_of_grpc_that_is_far_too_large_costs_its_call_alone(server: ModelServerRun, size: int) -> None:
    with open_channel(server.places["grpc_inference"]) as channel:
        call = predictions_call(channel)
        request = new_message("PredictionsRequest", model_name="probe", input={"do": b"sleep 0.5"})
        other = call.future(request, timeout=PATIENCE)
        with pytest.raises(grpc.RpcError) as refused:
            call(request, timeout=PATIENCE, metadata=(("x-large", "v" * size),))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "expected at most 65536 bytes of headers" in str(refused.value.details())
        assert other.result(PATIENCE).prediction == b"slept"


TOO_LONG = (16 << 20) + 1  # for a text in the frames between server and worker


def test_a_header_that_no_frame_takes_fails_its_request(server: ModelServerRun, worker: str) -> None:
    answer = ask(server.inference("predictions/probe"), f"large header {TOO_LONG}".encode())
    assert answer.status == 507, answer
    assert answer.json["message"] == "expected a header of at most 16777216 bytes from the handler, got 16777217"


def test_words_that_are_no_text_refuse_their_request(server: ModelServerRun, worker: str) -> None:
    answer = ask(server.inference("predictions/probe"), b'refuse 404 "no \\ud800"')
    assert (answer.status, answer.json["message"]) == (404, "no \\ud800")


def test_the_name_of_an_input_that_no_frame_takes_is_refused(server: ModelServerRun, worker: str) -> None:
    with open_channel(server.places["grpc_inference"]) as channel, pytest.raises(grpc.RpcError) as refused:
        request = new_message("PredictionsRequest", model_name="probe", input={"x" * TOO_LONG: b"", "do": b"pid"})
        predictions_call(channel)(request, timeout=PATIENCE)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    words = "expected the name of an input of at most 16777216 bytes, got one of 16777217"
    assert refused.value.details() == words
