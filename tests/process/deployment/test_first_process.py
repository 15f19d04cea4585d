"""Programs as the first process of a container, which the system ends by no signal that has no handler."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.persia_packets import CONFIG
from tests.support.servers import PATIENCE, wait_until

ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
# Commands import for a while before they have handlers of their own.
IMPORTING = """
import os, signal
from persia.launcher import main
main.get_command(None, "plan")
print("process", os.getpid(), "imports", flush=True)
signal.pause()
"""


@contextmanager
def first_process(command: list[str], log: Path, ready: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The number of the process, once it has said something, and unshare, which ends as it does."""
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"needs root, as which this works: {' '.join(ALONE)}")
    with log.open("wb") as file:
        outer = subprocess.Popen([*ALONE, *command], stdout=file, stderr=file)
    try:
        wait_until(lambda: outer.poll() is not None or re.search(ready, log.read_text()), "it has said so")
        assert outer.poll() is None, log.read_text()
        (inner,) = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        yield int(inner), outer
    finally:
        outer.kill()
        outer.wait()


@pytest.fixture
def global_config(tmp_path: Path) -> Path:
    path = tmp_path / "global_config.yml"
    path.write_text("common_config: {infer_config: {servers: ['127.0.0.1:1']}}\n")
    return path


@pytest.mark.parametrize(("program", "ready"), [("embedding-server", "serving version"), ("middleware", "waiting for")])
def test_servers_end_gracefully(program: str, ready: str, tmp_path: Path, global_config: Path) -> None:
    command = [sys.executable, "-m", "persia.launcher", program, "--port", "0", "--global-config", str(global_config)]
    log = tmp_path / "log"
    with first_process([*command, "--embedding-config", str(CONFIG)], log, ready) as (inner, outer):
        os.kill(inner, signal.SIGTERM)
        assert outer.wait(PATIENCE) == 0
    assert "stopping" in log.read_text()


def test_a_command_ends_before_it_has_handlers_of_its_own(tmp_path: Path) -> None:
    with first_process([sys.executable, "-c", IMPORTING], tmp_path / "log", "process 1 imports") as (inner, outer):
        os.kill(inner, signal.SIGTERM)
        assert outer.wait(PATIENCE) == 128 + signal.SIGTERM
