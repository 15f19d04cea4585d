"""When `persia-launcher torchserve` says that it is ready, and when it does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from persia.errors import DeadlineExceeded
from persia.torchserve.run.options import Options
from persia.torchserve.run.process import TorchServe
from persia.torchserve.run.readiness import SMOKE_SECONDS, Readiness, has_traceback
from persia.torchserve.run.restoring import Planned
from tests.support.servers import PATIENCE, wait_until
from tests.support.torchserves import TorchServeRun, launch, make_archive

pytestmark = pytest.mark.whole_way


def readiness_of(run: TorchServeRun, batch: str) -> Readiness:
    """Of one that serves already, as if it had just been started."""
    ports = [int(address.rpartition(":")[2]) for address in (run.address, run.management_address)]
    options = Options(Path("nowhere"), (), port=ports[0], management_port=ports[1])
    return Readiness(
        TorchServe(options, run.token_file.parent), [Planned("probe", "1.0", "probe-1.0.mar", True)], {"probe": batch.encode()}
    )


@contextmanager
def held(gate: Path) -> Iterator[None]:
    """What the batch `hold GATE` waits for comes at the end."""
    try:
        yield
    finally:
        gate.touch()


def test_who_is_told_to_stop_does_not_wait_for_a_slow_answer(torchserve: TorchServeRun, tmp_path: Path) -> None:
    gate, stop = tmp_path / "gate", threading.Event()
    with readiness_of(torchserve, f"hold {gate}") as readiness, ThreadPoolExecutor() as pool, held(gate):
        ready = pool.submit(readiness.wait, PATIENCE, stop.is_set)
        wait_until(gate.with_suffix(".started").exists, "the worker has the batch")
        stop.set()
        assert ready.result(PATIENCE) is False


def test_a_slow_answer_is_waited_for_no_longer_than_it_may_take_to_be_ready(torchserve: TorchServeRun, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with readiness_of(torchserve, f"hold {gate}") as readiness, ThreadPoolExecutor() as pool, held(gate):
        ready = pool.submit(readiness.wait, 1.0)
        with pytest.raises(DeadlineExceeded):
            ready.result(SMOKE_SECONDS / 2)


def test_one_that_answers_is_ready(torchserve: TorchServeRun) -> None:
    with readiness_of(torchserve, "") as readiness:
        assert readiness.wait(PATIENCE)


def test_a_model_that_does_not_answer_the_smoke_batch_is_not_ready(tmp_path: Path) -> None:
    smoke = tmp_path / "smoke.bin"
    smoke.write_bytes(b"raise on purpose")
    archive = make_archive(tmp_path / "store", "probe")
    run = launch(
        "--model-store", str(tmp_path / "store"), "--models", archive, "--smoke", str(smoke), "--state", str(tmp_path / "s")
    )
    assert run.returncode == 1 and "ready:" not in run.stderr
    assert "the handler failed" in run.stderr and "RuntimeError: on purpose" in run.stderr


def test_each_model_has_a_smoke_batch_of_its_own(tmp_path: Path) -> None:
    """One batch for all is no use where models have different features."""
    store = tmp_path / "store"
    (tmp_path / "refuse=.bin").write_bytes(b"raise for a batch of another model")
    (tmp_path / "own.bin").write_bytes(b"")
    models = ["--models", f"{make_archive(store, 'probe')},second={make_archive(store, 'copy')}"]
    state, own = ["--state", str(tmp_path / "s")], ["--smoke", f"probe={tmp_path / 'own.bin'}"]
    for_all = ["--smoke", str(tmp_path / "refuse=.bin")]
    run = launch("--model-store", str(store), *models, *for_all, *own, *state)
    assert run.returncode == 1 and "second 1.0 does not answer the smoke prediction" in run.stderr
    assert "probe 1.0 does not answer" not in run.stderr


def test_a_traceback_is_waited_for_until_its_last_line() -> None:
    lines = [
        "Invoking custom service failed.",
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in f',
        "    a - b",
        "",
    ]
    lines += ["ValueError: on purpose"]
    logged = [f"2026-11-27T10:00:00,000 [INFO ] W-9000-probe_1.0-stdout MODEL_LOG - {line}\n" for line in lines]
    assert [has_traceback("".join(logged[:count])) for count in range(7)] == [False] * 6 + [True]


def test_ready_takes_no_longer_than_it_may(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "store", "probe")
    state = ["--state", str(tmp_path / "s")]
    run = launch("--model-store", str(tmp_path / "store"), "--models", archive, "--ready-timeout", "0", *state)
    assert run.returncode == 1 and "not ready after 0 s" in run.stderr
    assert list((tmp_path / "s" / "tmp").iterdir()) == []
