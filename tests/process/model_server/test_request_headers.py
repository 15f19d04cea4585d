"""What callers say in headers: ids, priorities, deadlines; and what the logs have of it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from persia.torchserve.schema import new_message, open_channel, predictions_call
from tests.support.model_servers import ModelServerRun, ask, make_mar
from tests.support.servers import PATIENCE, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("headers")
    store = directory / "store"
    make_mar(store, "probe")
    make_mar(store, "batched", config="batchSize: 4\nmaxBatchDelay: 500\n")
    with ModelServerRun(
        directory,
        store,
        "--models",
        "all",
        environment={"LOG_LOCATION": str(directory / "logs"), "METRICS_LOCATION": str(directory / "logs")},
        cors_allowed_origin="https://pages.example.com",
        cors_allowed_methods="GET, POST",
    ) as run:
        run.wait_ready()
        yield run


def _log(server: ModelServerRun, name: str) -> str:
    return (server.log_path.parent / "logs" / name).read_text()


def _call(server: ModelServerRun, do: str, *metadata: tuple[str, str], model: str = "probe") -> tuple[str, dict[str, Any]]:
    """The answer and the trailers, over gRPC."""
    request = new_message("PredictionsRequest", model_name=model, input={"do": do.encode()})
    with open_channel(server.places["grpc_inference"]) as channel:
        answer, call = predictions_call(channel).with_call(request, timeout=PATIENCE, metadata=metadata)
        return answer.prediction.decode(), dict(call.trailing_metadata())


def test_an_id_goes_through_all_of_it(server: ModelServerRun) -> None:
    answer = ask(server.inference("predictions/probe"), b"id", headers={"X-Request-Id": "of-rest-1"})
    assert (answer.body, answer.headers["x-request-id"]) == (b"of-rest-1", "of-rest-1")
    body, trailers = _call(server, "id", ("x-request-id", "of-grpc-1"))
    assert (body, trailers["x-request-id"]) == ("of-grpc-1", "of-grpc-1")
    ask(server.inference("predictions/probe"), b"raise", headers={"X-Request-Id": "of-rest-2"})
    wait_until(lambda: "[of-rest-2] the handler failed" in _log(server, "model_log.log"), "the worker's log has the id")
    access = _log(server, "access_log.log")
    assert re.search(
        r'^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - /127\.0\.0\.1:\d+ "POST /predictions/probe HTTP/1\.1" 200 \d+ of-rest-1$',
        access,
        re.MULTILINE,
    )
    path = r"org\.pytorch\.serve\.grpc\.inference\.InferenceAPIsService/Predictions"
    assert re.search(rf'/127\.0\.0\.1:\d+ "gRPC {path} HTTP/2\.0" 0 \d+ of-grpc-1$', access, re.MULTILINE)


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, 'quo"te'])
def test_an_id_that_may_not_stand_in_logs_is_not_taken(server: ModelServerRun, given: str) -> None:
    answer = ask(server.inference("predictions/probe"), b"id", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == answer.body.decode() != given and len(answer.body) == 36


def test_answers_to_others_have_an_id_too(server: ModelServerRun) -> None:
    assert len(ask(server.management("models")).headers["x-request-id"]) == 36
    assert ask(server.inference("ping"), headers={"X-Request-Id": "ping-1"}).headers["x-request-id"] == "ping-1"
    assert ask(server.inference("nothing"), headers={"X-Request-Id": "no-1"}).headers["x-request-id"] == "no-1"


def test_two_requests_of_one_id_get_their_own_answers(server: ModelServerRun) -> None:
    def answer(number: int) -> str:
        return _call(server, f"echo {number}", ("x-request-id", "same"), model="batched")[0]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(answer, range(4))) == ["0", "1", "2", "3"]


def test_what_workers_write_stands_in_the_log_with_its_place(server: ModelServerRun) -> None:
    ask(server.inference("predictions/probe"), b"print words of a handler")
    wait_until(
        lambda: re.search(r"model_log - probe 1\.0 9\d{3}: words of a handler$", _log(server, "model_log.log"), re.MULTILINE),
        "the line is in the log",
    )
    assert "words of a handler" not in server.log()


def test_metrics_of_the_server_and_of_handlers_are_written_as_torchserve_writes_them(server: ModelServerRun) -> None:
    assert ask(server.inference("predictions/probe"), b"echo x").status == 200
    wait_until(
        lambda: "PredictionTime.ms:" in _log(server, "model_metrics.log"), "the metrics of the handler are in their file"
    )
    asked = r"ts_inference_requests_total\.Count:\d+\.0\|#model_name:probe,model_version:default\|#hostname:\S+,timestamp:\d+$"
    stamped = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3} - "
    wait_until(
        lambda: re.search(stamped + asked, _log(server, "ts_metrics.log"), re.MULTILINE), "the request is counted in the log"
    )
    named = set(re.findall(r" - (\w+)\.", _log(server, "ts_metrics.log")))
    assert named >= {"Requests2XX", "QueueTime", "WorkerThreadTime", "WorkerLoadTime", "CPUUtilization", "DiskAvailable"}


def test_lines_of_json_name_the_requests(tmp_path: Path) -> None:
    store = tmp_path / "store"
    make_mar(store, "probe")
    with ModelServerRun(tmp_path, store, "--models", "all", environment={"LOG_FORMAT": "json"}) as run:
        run.wait_ready()
        assert ask(run.inference("predictions/probe"), b"raise", headers={"X-Request-Id": "mine-1"}).status == 503

        def of_mine() -> list[dict[str, object]]:
            lines = [json.loads(line) for line in run.log().splitlines()]  # nothing else is among them
            return [line for line in lines if line.get("request_ids") == ["mine-1"]]

        (line,) = wait_until(of_mine, "the worker's line is in the log")
    assert line["message"] == f"probe 1.0 {line['worker']}: [mine-1] the handler failed"
    assert (line["level"], line["logger"], line["model"], line["version"]) == ("INFO", "model_log", "probe", "1.0")


def test_the_urgent_go_first(server: ModelServerRun) -> None:
    order: list[str] = []

    def work(name: str, *metadata: tuple[str, str]) -> None:
        _call(server, f"sleep 0.05 {name}", *metadata)
        order.append(name)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(_call, server, "sleep 1")
        wait_until(lambda: _at_work(server) == 1, "the worker is at work")
        others = [pool.submit(work, f"other-{i}") for i in range(3)]
        wait_until(lambda: _queued(server) == 3, "three wait")
        urgent = [pool.submit(work, f"urgent-{i}", ("x-priority", "high")) for i in range(2)]
        first.result()
        for waiting in (*others, *urgent):
            waiting.result()
    assert {name.partition("-")[0] for name in order[:2]} == {"urgent"}


def _queued(server: ModelServerRun) -> int:
    return int(ask(server.management("models/probe")).json[0]["jobQueueStatus"]["pendingRequests"])


def _at_work(server: ModelServerRun) -> int:
    found = re.search(r'^persia_model_workers_busy\{model="probe",version="1.0"\} (\S+)$', server.metrics(), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def test_a_deadline_over_rest_ends_the_wait(server: ModelServerRun) -> None:
    answer = ask(server.inference("predictions/probe"), b"sleep 1", headers={"X-Request-Timeout": "100ms"})
    assert (answer.status, answer.json["message"]) == (408, "the deadline passed before the handler answered")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(_call, server, "sleep 1")
        wait_until(lambda: _at_work(server) == 1, "the worker is at work")
        answer = ask(server.inference("predictions/probe"), b"die", headers={"X-Request-Timeout": "0.1"})
        assert answer.status in (408, 429)  # the server may know from before that it would be late
        assert slow.result()[0] == "slept"


def test_a_deadline_reaches_the_handler(server: ModelServerRun) -> None:
    seen = ask(server.inference("predictions/probe"), b"headers", headers={"X-Request-Timeout": "20s"}).json
    assert len(seen["x-request-deadline"]) == 13
    assert len(json.loads(_call(server, "headers")[0])["x-request-deadline"]) == 13  # by grpc-timeout


@pytest.mark.parametrize(
    ("header", "value", "words"),
    [
        ("x-request-timeout", "soon", "x-request-timeout: expected seconds such as `1.5`, or `1500ms`, got another text"),
        ("x-request-timeout", "-1", "x-request-timeout: expected seconds such as `1.5`, or `1500ms`, got another text"),
        ("x-priority", "highest", "x-priority: expected `high` or `normal`, got another text"),
    ],
)
def test_headers_that_say_nothing_that_is_known(server: ModelServerRun, header: str, value: str, words: str) -> None:
    answer = ask(server.inference("predictions/probe"), b"echo", headers={header: value})
    assert (answer.status, answer.json["message"]) == (400, words)
    with pytest.raises(grpc.RpcError) as raised:
        _call(server, "echo", (header, value))
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, words)


def test_a_caller_that_has_gone_is_work_nobody_waits_for(server: ModelServerRun, tmp_path: Path) -> None:
    mark = tmp_path / "begun"
    host, port = server.places["inference"].split(":")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(_call, server, "sleep 1")
        wait_until(lambda: _at_work(server) == 1, "the worker is at work")
        body = f"touch {mark}".encode()
        head = f"POST /predictions/probe HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection((host, int(port)), PATIENCE) as connection:
            connection.sendall(head + body)
            wait_until(lambda: _queued(server) == 1, "the request waits")
        assert slow.result()[0] == "slept"
    assert _call(server, "echo next")[0] == "next"
    assert not mark.exists()


def test_pages_of_other_sites_may_ask(server: ModelServerRun) -> None:
    answer = ask(server.inference("predictions/probe"), b"echo hello")
    assert answer.headers["access-control-allow-origin"] == "https://pages.example.com"
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    asked = {"Access-Control-Request-Method": "POST", "Origin": "https://pages.example.com"}
    preflight = ask(server.inference("predictions/probe"), method="OPTIONS", headers=asked)
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (200, "https://pages.example.com")
