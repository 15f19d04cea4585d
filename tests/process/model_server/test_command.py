"""The command line of `torchserve`, taken by ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.model_servers import HANDLERS, LAUNCHER, ModelServerRun, ask, make_mar
from tests.support.places import ROOT
from tests.support.servers import PATIENCE, free_port, wait_until

INNER = HANDLERS / "inner.py"


def run(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command line that is expected to end by itself, and whose output ends although a server goes on in the background."""
    return subprocess.run(
        [str(LAUNCHER), "model-server", *arguments],
        cwd=cwd,
        env={**os.environ, "TMPDIR": str(cwd), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        text=True,
    )


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Where its config.properties has it listen; a server that was started there is stopped at the end."""
    inference, management = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    ports = f"grpc_inference_port={free_port()}\ngrpc_management_port={free_port()}\n"
    (tmp_path / "config.properties").write_text(
        f"inference_address={inference}\nmanagement_address={management}\n{ports}default_workers_per_model=1\n"
    )
    yield inference, management
    run("--stop", "--foreground", cwd=tmp_path)


def test_start_and_stop_in_the_background(tmp_path: Path, places: tuple[str, str]) -> None:
    inference, management = places
    store = tmp_path / "store"
    make_mar(store, "a", handler=INNER)
    make_mar(store, "b", handler=INNER)
    models = ["--models", "a-1.0.mar", "other=b-1.0.mar"]
    started = run("--start", "--ncs", "--model-store", str(store), *models, "--disable-token-auth", cwd=tmp_path)
    assert started.returncode == 0 and "Model server started." in started.stdout
    assert [one["modelName"] for one in ask(f"{management}/models").json["models"]] == ["a", "other"]
    wait_until(lambda: ask(f"{inference}/ping").status == 200, "the models are ready")
    logs = {"ts_log.log", "model_log.log", "access_log.log", "ts_metrics.log", "model_metrics.log"}
    assert {path.name for path in (tmp_path / "logs").iterdir()} >= logs
    assert ask(f"{inference}/predictions/other", b"x").body == b"x"
    again = run("--start", "--model-store", str(store), cwd=tmp_path)
    assert again.returncode == 2 and "a model server is already running, process " in again.stdout
    assert f" by {tmp_path}/.persia_model_server." in again.stdout
    stopped = run("--stop", "--foreground", cwd=tmp_path)
    assert (stopped.returncode, stopped.stdout) == (0, "The model server has stopped.\n")
    with pytest.raises(OSError):
        ask(f"{inference}/ping")
    assert run("--stop", cwd=tmp_path).stdout.startswith(f"The model server is not running: {tmp_path}/.persia_model_server.")


def test_the_command_of_the_page_on_moving(tmp_path: Path, places: tuple[str, str]) -> None:
    page = (ROOT / "docs" / "moving-from-torchserve.md").read_text()
    [command] = [line for line in page.splitlines() if line.startswith("persia-launcher model-server --start")]
    make_mar(tmp_path / "model_store", "a", handler=INNER)
    started = run(*command.split()[2:], "--disable-token-auth", cwd=tmp_path)
    assert started.returncode == 0 and "Model server started." in started.stdout
    wait_until(lambda: ask(f"{places[0]}/ping").status == 200, "the model is ready")
    assert ask(f"{places[0]}/predictions/a", b"x").body == b"x"


def test_a_start_that_fails_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("job_queue_size=many\n")
    ended = run("--start", cwd=tmp_path)
    assert ended.returncode == 2 and "expected a number for job_queue_size" in ended.stdout
    assert "Model server started." not in ended.stdout
    assert run("--stop", cwd=tmp_path).stdout.startswith(f"The model server is not running: {tmp_path}/.persia_model_server.")


def test_a_server_ends_before_its_models_are_ready(tmp_path: Path) -> None:
    make_mar(tmp_path / "store", "fails_to_load")
    with ModelServerRun(tmp_path, tmp_path / "store", "--models", "all") as server:
        assert server.stop() == 0


def test_version(tmp_path: Path) -> None:
    assert "with the APIs of TorchServe 0.12.0" in run("--version", cwd=tmp_path).stdout


def test_what_has_no_effect_is_told(tmp_path: Path) -> None:
    options = ["--log-config", "log4j2.xml", "--plugins-path", "plugins", "--workflow-store", "wf"]
    with ModelServerRun(tmp_path, tmp_path, *options, vmargs="-Xmx1g", job_queue_sise=3) as server:
        log = server.log()
    for words in (
        "--log-config is for Java's log4j",
        "--plugins-path names plugins in Java",
        "workflows (.war) are not served",
        "vmargs has no effect: it is a setting of TorchServe's Java",
        "job_queue_sise is no key of config.properties: did you mean job_queue_size?",
    ):
        assert words in log


def test_models_of_a_snapshot(tmp_path: Path) -> None:
    store = tmp_path / "store"
    make_mar(store, "a", handler=INNER)
    make_mar(store, "a", "2.0", handler=INNER)
    snapshot = (
        '{"name": "startup.cfg", "modelCount": 1, "models": {"a": {'
        '"1.0": {"marName": "a-1.0.mar", "minWorkers": 0, "maxWorkers": 0, "batchSize": 4},'
        '"2.0": {"marName": "a-2.0.mar", "minWorkers": 1, "maxWorkers": 1, "defaultVersion": true, "responseTimeout": 7}}}}'
    )
    with ModelServerRun(tmp_path, store, model_snapshot=snapshot, load_models="none") as server:
        server.wait_ready()
        assert server.predict("a", do="version") == "2.0"
        old, new = ask(server.management("models/a/all")).json
        assert (old["batchSize"], old["minWorkers"], new["responseTimeout"], new["loadedAtStartup"]) == (4, 0, 7, True)
