"""What was registered, scaled and chosen outlives TorchServe, and nobody gets another version while it starts again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from persia.client.predict import Client
from persia.client.swap import swap
from persia.errors import PersiaError, Unavailable
from persia.torchserve.management import Management
from persia.torchserve.tokens import Tokens
from tests.support.managing import manage, versions
from tests.support.servers import PATIENCE, free_port, wait_until
from tests.support.stacks import Up
from tests.support.torchserves import TorchServeRun, make_archive

pytestmark = pytest.mark.whole_way

PAUSE_SECONDS = 0.02
SERVING, NOT_SERVING = int(health_pb2.HealthCheckResponse.SERVING), int(health_pb2.HealthCheckResponse.NOT_SERVING)


@pytest.fixture
def state() -> Iterator[Path]:
    """Sockets need a shorter path than pytest's."""
    with tempfile.TemporaryDirectory(prefix="s-") as path:
        yield Path(path)


def health(address: str, service: str = "") -> int:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE, wait_for_ready=True).status)


class Caller:
    """Asks a model, each time as a client that has just started, and keeps what it got.

    It pauses after an error alone, which comes at once where nobody listens: a TorchServe that starts needs the processor.
    """

    def __init__(self, model: str, address: str, token_file: Path) -> None:
        self.answers: list[float] = []
        self.errors: list[PersiaError] = []
        self._stop = threading.Event()
        self._arguments = (model, address, token_file)
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        model, address, token_file = self._arguments
        while not self._stop.is_set():
            try:
                with Client(model, address, token_file=token_file, timeout=PATIENCE) as client:
                    self.answers.append(float(client.predict(b"")[0]))
            except PersiaError as error:
                self.errors.append(error)
                self._stop.wait(PAUSE_SECONDS)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def kill_java(up: Up) -> None:
    (launcher,) = (pid for pid, command in up.children().items() if " torchserve " in command)
    (java,) = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    os.kill(int(java), signal.SIGKILL)


def test_the_operators_choice_outlives_a_killed_torchserve(tmp_path: Path, state: Path) -> None:
    """A swap, then a rollback and two workers: with a JVM that is killed after each of them, under `up`."""
    store, port, management_port = tmp_path / "store", free_port(), free_port()
    for version in ("1.0", "2.0"):
        make_archive(store, "ctr", version)
    arguments = ["--middleware-port", "0", "--model-store", str(store), "--models", "ctr-1.0.mar"]
    ports = ["--port", str(port), "--management-port", str(management_port), "--health-port", "0"]
    ready = r"TorchServe is ready: inference on \S+, management on \S+, tokens in ([^,]+), .* health on (\S+), .*\n"
    with Up(tmp_path, "--state", str(state), *arguments, "--", *ports, metrics=True) as up:
        began = up.said(ready)
        token_file = Path(began[1])
        targets = (state / "targets.json").read_text()
        with Management(f"127.0.0.1:{management_port}", Tokens(file=token_file), PATIENCE) as management:
            swap(management, "ctr", "ctr-2.0.mar", drain=0)
            with Caller("ctr", f"127.0.0.1:{port}", token_file) as caller:
                wait_until(lambda: caller.answers, "the new version answers")
                kill_java(up)
                up.said(f"{ready}(?s:.*){ready}")
                count = len(caller.answers)
                wait_until(lambda: len(caller.answers) > count, "it answers again")
            assert set(caller.answers) == {2.0}
            assert {type(error) for error in caller.errors} == {Unavailable}
            assert versions(management, "ctr") == [("2.0", True)]

            management.register("ctr-1.0.mar")
            management.set_default("ctr", "1.0")
            management.scale("ctr", 2)
            kill_java(up)
            again = up.said(f"{ready}(?s:.*){ready}(?s:.*){ready}")
            assert versions(management, "ctr") == [("1.0", True), ("2.0", False)]
            assert [model.ready for model in management.list()] == [2, 1]
            assert health(again[6]) == health(again[6], "ctr") == SERVING
        assert (state / "targets.json").read_text() == targets
        assert_scraped(up, json.loads(targets))


def assert_scraped(up: Up, targets: list[dict[str, Any]]) -> None:
    """Also after a process was killed."""
    (shard,) = (pid for pid, command in up.children().items() if " embedding-server " in command)
    os.kill(shard, signal.SIGKILL)
    up.said("embedding-server-0 is ready again")
    labels = [entry["labels"] for entry in targets]
    assert labels == [
        {"process": "embedding-server-0", "service": "embedding-server", "shard": "0", "replica": "0"},
        {"process": "middleware", "service": "middleware"},
    ]
    for entry, metric in zip(targets, ("persia_lookup_seconds", "persia_forward_seconds"), strict=True):
        (address,) = entry["targets"]
        assert f"metrics on port {address.rpartition(':')[2]}\n" in up.log.read_text()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as response:
            assert metric in response.read().decode()


def test_a_start_takes_the_state_before_what_it_is_told(tmp_path: Path) -> None:
    store, state = tmp_path / "store", tmp_path / "s"
    for name in ("kept", "gone", "lost"):
        make_archive(store, name)
    models = ["--models", "all", "--state", str(state), "--health-port", "0"]
    with TorchServeRun(tmp_path / "1", store, [*models, "--workers", "2"]) as run:
        run.wait_ready()
        first = json.loads((state / "models.json").read_text())
        assert {name: model["versions"]["1.0"]["min_workers"] for name, model in first["models"].items()} == {
            "kept": 2,
            "gone": 2,
            "lost": 2,
        }
        with run.management() as management:
            assert {model.ready for model in management.list()} == {2}
            management.unregister("gone")
            management._call("ScaleWorker", model_name="kept", model_version="1.0", min_worker=1, max_worker=1)

        def noted(name: str) -> Any:
            return json.loads((state / "models.json").read_text())["models"][name]

        assert noted("gone") == {"default": None, "versions": {}}
        what = "what another client has changed is noted"
        wait_until(lambda: noted("kept")["versions"]["1.0"]["max_workers"] == 1, what)
        os.kill(run.java(), signal.SIGTERM)  # it unregisters all models as it ends: which nobody has asked for
        assert run.process.wait(PATIENCE) == 1
    (store / "lost-1.0.mar").unlink()
    make_archive(store, "kept", "2.0")
    make_archive(store, "new")
    with TorchServeRun(tmp_path / "2", store, [*models, "--workers", "2"]) as run:
        run.wait_ready()
        assert "lost 1.0 is NOT restored: expected lost-1.0.mar in" in run.log()
        assert "kept-2.0.mar of --models is left out" in run.log()
        address = run.said(r"health on (\S+),")[1]
        services = ("", "kept", "kept/1.0", "lost", "new")
        assert [health(address, service) for service in services] == [NOT_SERVING, SERVING, SERVING, NOT_SERVING, SERVING]
        with run.management() as management:
            found = [(model.name, model.version, model.ready) for model in management.list()]
        assert found == [("kept", "1.0", 1), ("new", "1.0", 2)]
        listed = manage(run, "list").stdout.splitlines()
        assert listed[-1] == "lost 1.0, the default: expected it registered, of lost-1.0.mar, got no such version"
        assert manage(run, "unregister", "lost", "--version", "1.0").exit_code == 0
        assert manage(run, "unregister", "lost", "--version", "1.0").exit_code == 1
        assert "expected" not in manage(run, "list").stdout
        assert health(address) == SERVING
        run.process.send_signal(signal.SIGTERM)
        wait_until(lambda: health_or_gone(address) != SERVING, "health checks are told that it ends")
        assert run.process.wait(PATIENCE) == 0


def health_or_gone(address: str) -> int:
    """Whoever has ended does not serve."""
    with contextlib.suppress(grpc.RpcError), grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        return int(check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status)
    return NOT_SERVING
