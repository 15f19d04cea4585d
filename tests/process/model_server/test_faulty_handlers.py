"""Handlers whose process dies or stands still: the request that did it fails by name, and no other one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests.support.model_servers import HANDLERS, ModelServerRun, make_mar
from tests.support.servers import wait_until

WORKERS = 2
CONFIG = f"minWorkers: {WORKERS}\nmaxWorkers: {WORKERS}\nresponseTimeout: 1\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("faulty_handlers")
    make_mar(directory / "store", "faulty", handler=HANDLERS / "inner.py", config=CONFIG)
    with ModelServerRun(directory, directory / "store", "--models", "all", workers=WORKERS) as run:
        run.wait_ready()
        yield run
        files = len(list(Path(f"/proc/{run.process.pid}/fd").iterdir()))
        assert files < 64, "files of dead workers are open"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("exit 4", "exited with 4"),
        ("signal SEGV", "was ended by SIGSEGV"),
        ("signal KILL", "was ended by SIGKILL"),
        ("signal STOP", "timed out"),
    ],
)
def test_a_fault_costs_its_own_request_and_the_worker_comes_back(server: ModelServerRun, command: str, why: str) -> None:
    before = {worker["pid"] for worker in server.workers("faulty")}
    with ThreadPoolExecutor(1) as pool:
        faulty = pool.submit(server.failure, "faulty", do=command)
        assert [server.predict("faulty", do="version") for _ in range(50)] == ["1.0"] * 50
        code, words = faulty.result()
    assert (code, words) == (grpc.StatusCode.INTERNAL, "Worker died.")

    def is_whole() -> bool:
        workers = server.workers("faulty")
        is_another = {worker["pid"] for worker in workers} != before
        return is_another and len(workers) == WORKERS and all(worker["status"] == "READY" for worker in workers)

    wait_until(is_whole, "the worker is back")
    assert f"of faulty has ended: {why}" in server.log()
    (gone,) = before - {worker["pid"] for worker in server.workers("faulty")}
    assert not Path(f"/proc/{gone}").exists()
    assert server.predict("faulty", do="version") == "1.0"
