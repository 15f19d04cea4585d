"""What workers are started with, what they cost when they go wrong, and how requests are dealt out among versions."""

from __future__ import annotations

import collections
import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from persia.torchserve.schema import new_message, predictions_call
from tests.support.model_servers import HANDLERS, ModelServerRun, ask, make_mar
from tests.support.servers import PATIENCE, wait_until

INNER = HANDLERS / "inner.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("workers")
    store = directory / "store"
    for version in ("1.0", "2.0", "3.0"):
        make_mar(store, "versions", version, INNER)
    make_mar(store, "devices", handler=INNER)
    make_mar(store, "chosen", handler=INNER, config="minWorkers: 2\nmaxWorkers: 2\ndeviceType: gpu\ndeviceIds: [3, 1]\n")
    make_mar(store, "plain", handler=INNER, config="minWorkers: 1\nmaxWorkers: 1\ndeviceType: cpu\n")
    make_mar(store, "grows", handler=INNER, config="minWorkers: 2\nmaxWorkers: 2\nmemoryLimitMiB: 600\n")
    make_mar(store, "fails_to_load", config="minWorkers: 1\nmaxWorkers: 1\nmaxRetryTimeoutInSec: 1\n")
    make_mar(store, "fails_to_load_on", config="minWorkers: 1\nmaxWorkers: 1\n")
    environment = {"SECRET_KEY": "shown", "OTHER": "seen"}
    with ModelServerRun(
        directory,
        store,
        "--enable-model-api",
        environment=environment,
        number_of_gpu=4,
        blacklist_env_vars="SECRET.*",
    ) as run:
        yield run


def gpus(server: ModelServerRun, meeting: Path, name: str, count: int) -> list[int | None]:
    """Of a model's workers, which are asked at the same time."""
    assert ask(server.management(f"models?url={name}-1.0.mar&initial_workers={count}"), b"", "POST").status == 200
    place = meeting / name
    place.mkdir()
    with ThreadPoolExecutor(count) as pool:
        return sorted(pool.map(lambda _: json.loads(server.predict(name, do=f"gpu {place} {count}")), range(count)))


def test_workers_get_gpus_in_turn(server: ModelServerRun, tmp_path: Path) -> None:
    assert gpus(server, tmp_path, "devices", 3) == [0, 1, 2]
    assert gpus(server, tmp_path, "chosen", 2) == [1, 3]
    (described,) = ask(server.management("models/chosen")).json
    assert (described["deviceType"], described["deviceIds"]) == ("gpu", [3, 1])
    assert [worker["gpu"] for worker in described["workers"]] == [True, True]
    assert gpus(server, tmp_path, "plain", 1) == [None]
    assert server.predict("plain", do="variable SECRET_KEY") == "none"
    assert server.predict("plain", do="variable OTHER") == "seen"


def test_a_worker_that_grows_costs_its_own_requests(server: ModelServerRun) -> None:
    ask(server.management("models?url=grows-1.0.mar"), b"", "POST")
    (described,) = ask(server.management("models/grows")).json
    assert described["memoryLimitMiB"] == 600
    pids = {worker["pid"] for worker in described["workers"]}
    code, words = server.failure("grows", do="grow 700")
    assert (code, words) == (grpc.StatusCode.INTERNAL, "the worker has grown beyond its memoryLimitMiB of 600")
    assert server.predict("grows", do="version") == "1.0"  # the other one is there
    ended = "of grows has ended: the worker has grown beyond its memoryLimitMiB of 600"
    wait_until(lambda: ended in server.log(), "the log says why")
    wait_until(
        lambda: len({worker["pid"] for worker in server.workers("grows")} - pids - {-1}) == 1, "a new one takes its place"
    )


def test_a_worker_that_grows_again_and_again_is_started_later_and_later(server: ModelServerRun) -> None:
    assert ask(server.management("models?url=grows-1.0.mar&model_name=greedy"), b"", "POST").status == 200
    scaled = "models/greedy?min_worker=1&max_worker=1&synchronous=true"
    assert ask(server.management(scaled), None, "PUT").status == 200
    for _ in range(2):
        assert ask(server.inference("predictions/greedy"), b"grow 700").status == 507
    wait_until(lambda: "of greedy starts again in 1 s" in server.log(), "the second start comes later")
    assert server.predict("greedy", do="version") == "1.0"


def test_who_waits_for_a_worker_that_runs_out_of_memory_is_told_507(server: ModelServerRun) -> None:
    """Also if the kernel kills it, which nobody else does with SIGKILL."""
    assert ask(server.management("models?url=grows-1.0.mar&model_name=grown"), b"", "POST").status == 200
    answer = ask(server.inference("predictions/grown"), b"grow 700")
    assert (answer.status, answer.json["type"]) == (507, "InternalServerException")
    make_mar(server.store, "killed")
    assert ask(server.management("models?url=killed-1.0.mar&initial_workers=1"), b"", "POST").status == 200
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, server.inference("predictions/killed"), b"sleep 600")
        wait_until(lambda: "persia_model_workers_busy" in (page := server.metrics()) and _is_busy(page, "killed"), "it works")
        os.kill(server.workers("killed")[0]["pid"], signal.SIGKILL)
        answer = waiting.result()
    assert (answer.status, answer.json["message"]) == (507, "Worker died.")


def test_who_would_wait_for_a_busy_worker_is_told_when_to_come_again(server: ModelServerRun) -> None:
    make_mar(server.store, "tickets", config="minWorkers: 1\nmaxWorkers: 1\nuseJobTicket: true\n")
    assert ask(server.management("models?url=tickets-1.0.mar"), b"", "POST").status == 200
    with ThreadPoolExecutor(1) as pool:
        at_work = pool.submit(ask, server.inference("predictions/tickets"), b"sleep 600")
        wait_until(lambda: _is_busy(server.metrics(), "tickets"), "it works")
        answer = ask(server.inference("predictions/tickets"), b"echo x")
        words = "no worker of the model 'tickets' is idle, and it takes no request that would wait"
        assert (answer.status, answer.json["type"]) == (429, "ServiceUnavailableException")
        assert (answer.json["message"], int(answer.headers["retry-after"]) >= 1) == (words, True)
        answer = ask(server.inference("v2/models/tickets/infer"), b"{}")
        assert (answer.status, answer.json, int(answer.headers["retry-after"]) >= 1) == (429, {"error": words}, True)
        os.kill(server.workers("tickets")[0]["pid"], signal.SIGKILL)
        at_work.result()


def _is_busy(page: str, model: str) -> bool:
    return any(
        line.startswith(f'persia_model_workers_busy{{model="{model}"') and line.endswith(" 1.0") for line in page.splitlines()
    )


def test_a_worker_that_fails_is_tried_again_until_it_is_given_up(server: ModelServerRun) -> None:
    answer = ask(server.management("models?url=fails_to_load-1.0.mar&synchronous=false"), b"", "POST")
    assert (answer.status, answer.json["status"]) == (202, "Processing worker updates...")
    assert ask(server.inference("ping")).status == 500
    wait_until(lambda: "of fails_to_load is given up after" in server.log(), "the worker is given up")
    assert server.log().count("of fails_to_load could not start") >= 2
    wait_until(lambda: server.failure("fails_to_load", do="x")[0] is grpc.StatusCode.UNAVAILABLE, "nobody waits for it")
    assert ask(server.inference("ping")).status == 500  # it was to have a worker
    assert ask(server.management("models/fails_to_load"), None, "DELETE").status == 200
    assert ask(server.inference("ping")).status == 200


def test_who_waits_for_a_worker_that_does_not_come_is_told_when_the_model_goes(server: ModelServerRun) -> None:
    ask(server.management("models?url=fails_to_load_on-1.0.mar&synchronous=false"), b"", "POST")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.failure, "fails_to_load_on", do="x")

        def waits() -> bool:
            (described,) = ask(server.management("models/fails_to_load_on")).json
            return bool(described["jobQueueStatus"]["pendingRequests"])

        wait_until(waits, "the request waits")
        assert ask(server.management("models/fails_to_load_on"), None, "DELETE").status == 200
        assert waiting.result()[0] is grpc.StatusCode.UNAVAILABLE


def test_a_model_that_starts_can_be_unregistered(server: ModelServerRun) -> None:
    make_mar(server.store, "slow", handler=INNER)
    register = f"models?url=slow-1.0.mar&initial_workers=1&startup_timeout={int(PATIENCE)}"
    starting = threading.Thread(target=lambda: ask(server.management(register), b"", "POST"))
    starting.start()
    wait_until(lambda: ask(server.management("models/slow")).status == 200, "it is registered")
    pid = wait_until(lambda: next((w["pid"] for w in server.workers("slow") if w["pid"] > 0), 0), "its worker has begun")
    os.kill(pid, signal.SIGSTOP)
    assert ask(server.management("models/slow"), None, "DELETE").status in (200, 404)
    starting.join()
    assert not Path(f"/proc/{pid}").exists()


def test_what_a_handler_says_of_itself(server: ModelServerRun) -> None:
    ask(server.management("models?url=versions-3.0.mar&model_name=said"), b"", "POST")
    answer = ask(server.management("models/said?customized=true"))
    words = 'Model "said" has no worker to serve describe request. Please use scale workers API to add workers.'
    assert (answer.status, answer.json["message"]) == (503, words)
    ask(server.management("models/said?min_worker=1&synchronous=true"), None, "PUT")
    (described,) = ask(server.management("models/said?customized=true")).json
    assert described["customizedMetadata"] == {"name": "said", "batch": 1}
    (over_grpc,) = json.loads(server.manage("DescribeModel", model_name="said", customized=True))
    assert over_grpc["customizedMetadata"] == {"name": "said", "batch": 1}


def test_a_body_of_loose_json_registers(server: ModelServerRun) -> None:
    body = b"{'url': 'versions-3.0.mar', 'model_name': 'loose', \"synchronous\": \"true\", \"initial_workers\": \"0\"}"
    answer = ask(server.management("models"), body, "POST", {"Content-Type": "application/json"})
    assert answer.status == 200 and ask(server.management("models/loose")).status == 200
    assert ask(server.management("models"), b"[]", "POST", {"Content-Type": "application/json"}).status == 400


def version_by_rest(server: ModelServerRun, user: str) -> str:
    return ask(server.inference("predictions/versions"), b"version", headers={"X-User": user}).body.decode()


def version_by_grpc(server: ModelServerRun, user: str) -> str:
    request = new_message("PredictionsRequest", model_name="versions", input={"do": b"version"})
    with grpc.insecure_channel(server.places["grpc_inference"]) as channel:
        answer = predictions_call(channel)(request, timeout=PATIENCE, metadata=[("x-user", user)])
    return bytes(answer.prediction).decode()


def test_requests_are_dealt_out_and_copied(server: ModelServerRun, tmp_path: Path) -> None:
    for version in ("1.0", "2.0", "3.0"):
        assert ask(server.management(f"models?url=versions-{version}.mar&initial_workers=1"), b"", "POST").status == 200
    weights = "models/versions/traffic?weights=1.0:80,2.0:20&sticky_by=X-User"
    assert ask(server.management(weights), None, "PUT").json["sticky_by"] == "x-user"
    users = [f"user {number}" for number in range(200)]
    chosen = {user: version_by_rest(server, user) for user in users}
    counts = collections.Counter(chosen.values())
    assert set(counts) == {"1.0", "2.0"} and 15 <= counts["2.0"] <= 70
    assert all(version_by_rest(server, user) == chosen[user] for user in users[:20])
    assert all(version_by_grpc(server, user) == chosen[user] for user in users[:20])
    assert server.predict("versions", "3.0", do="version") == "3.0"  # who names a version gets it

    body = json.dumps({"shadow": "3.0", "weights": {"1.0": 1}}).encode()
    asked = ask(server.management("models/versions/traffic"), body, "PUT", {"Content-Type": "application/json"})
    assert asked.json == {"weights": {"1.0": 1}, "sticky_by": "x-user", "shadow": "3.0", "shadow_share": 1.0}
    asked = ask(server.management("models/versions/traffic"), b'{"sticky_by": null}', "PUT")
    assert asked.json == {"weights": {"1.0": 1}, "sticky_by": "", "shadow": "3.0", "shadow_share": 1.0}
    notes = tmp_path / "notes"
    assert server.predict("versions", do=f"note {notes}") == "noted"
    wait_until(lambda: sorted(notes.read_text().split()) == ["1.0", "3.0"], "the candidate has got a copy")
    assert ask(server.management("models/versions/3.0"), None, "DELETE").status == 200
    assert ask(server.management("models/versions/traffic")).json["shadow"] == ""
    assert ask(server.management("models/versions/traffic?weights=9.9:1"), None, "PUT").status == 404
    assert ask(server.management("models/versions/traffic?weights=x"), None, "PUT").status == 400
    assert ask(server.management("models/versions/traffic"), None, "DELETE").json["weights"] == {}
    assert {server.predict("versions", do="version") for _ in range(20)} == {"1.0"}


def test_torch_is_imported_where_a_handler_uses_it_and_not_before(server: ModelServerRun) -> None:
    ask(server.management("models?url=plain-1.0.mar"), b"", "POST")
    assert server.predict("plain", do="imported ts.service") == "true"
    assert server.predict("plain", do="imported torch") == "false"
    assert server.predict("plain", do="ones 2") == "2.0"
    assert server.predict("plain", do="imported torch") == "true"
