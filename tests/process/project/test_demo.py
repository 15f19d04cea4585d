"""The README's first command, and the command that does the same with a user's own files."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from persia.client.predict import Client
from persia.ctx import InferCtx
from persia.system.address import free_ports
from persia.torchserve.archive.handler_files import PERSIA_HANDLER
from persia.torchserve.management import Management
from persia.torchserve.ready_line import find_ready_line
from persia.torchserve.run.options import Options
from persia.torchserve.run.process import TorchServe
from persia.torchserve.run.restoring import Planned
from persia.torchserve.run.running import ready_line
from persia.torchserve.tokens import Tokens
from tests.support.places import ROOT
from tests.support.servers import PATIENCE, free_port, wait_until
from tests.support.stacks import MIX, Logged, Up
from tests.support.torchserves import make_archive

pytestmark = pytest.mark.whole_way


def test_the_demo_changes_scores_and_stays_up_and_each_command_that_it_prints_works(tmp_path: Path) -> None:
    demo = Logged([sys.executable, str(ROOT / "examples" / "demo.py")], tmp_path / "demo.log")
    with demo:
        demo.said("TorchServe is ready")
        shown = demo.said(r"== all of it is up\n(?s:(.*))\n\nCtrl-C stops all\.")[1]
        scores = re.findall(r"^== .*\n((?:\d\.\d+\n){4})", demo.log.read_text(), re.MULTILINE)
        assert len(scores) == len(set(scores)) == 3  # at first, after a packet, after a swap
        directory = Path(demo.said(r"files and logs +(\S+)")[1])
        assert directory.exists()
        commands = re.findall(r"^    (.+)$", shown, re.MULTILINE)
        addresses = re.findall(r"127\.0\.0\.1:\d+", "".join(re.findall(r"^\S.*$", shown, re.MULTILINE)))
        assert len(addresses) == 5  # two embedding servers, the middleware, and TorchServe's two
        assert [address for address in addresses if not any(address in command for command in commands)] == []
        for command in commands:
            run = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
            assert run.returncode == 0 and run.stdout, f"{command}\n{run.stdout}{run.stderr}"
    assert demo.process.returncode == 0, demo.log.read_text()
    assert not directory.exists()


def test_up_starts_again_what_dies_and_stops_all_at_the_end(tmp_path: Path) -> None:
    port = free_port()
    batch = (MIX / "golden" / "batch16_0.bin").read_bytes()
    with Up(tmp_path, "--shards", "2", "--middleware-port", str(port)) as up, InferCtx([f"127.0.0.1:{port}"]) as context:
        up.said("Ctrl-C stops all")
        context.get_embedding_from_bytes(batch)
        children = up.children()
        assert len(children) == 3
        (shard, *_) = (pid for pid, command in children.items() if "--replica-index 1" in command)
        os.kill(shard, signal.SIGKILL)
        up.said("embedding-server-1 ended with -9, starts again")

        def served() -> bool:
            try:
                return bool(context.get_embedding_from_bytes(batch))
            except ConnectionError:
                return False

        wait_until(served, "lookups are answered again")
        up.process.send_signal(signal.SIGHUP)  # as a terminal that is closed, which is to end it as Ctrl-C does
        assert up.process.wait(PATIENCE) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_what_up_has_started_ends_with_it_however_it_ends(tmp_path: Path) -> None:
    with Up(tmp_path, "--middleware-port", "0") as up:
        up.said("Ctrl-C stops all")
        children = up.children()
        assert len(children) == 2
        config = up.state / "global_config.with_servers.yaml"
        before = config.read_text()
        with Up(tmp_path / "second", "--middleware-port", "0", "--state", str(up.state)) as second:
            assert second.process.wait(PATIENCE) == 2
            assert "up: another `up` uses the state directory" in second.log.read_text()
        assert config.read_text() == before
        up.process.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "nothing is left")


def test_up_does_not_take_another_deployments_servers_for_its_own(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    server, middleware = (f"127.0.0.1:{free_port()}" for _ in range(2))
    port = middleware.rpartition(":")[2]
    with Up(tmp_path, "--middleware-port", port, servers=[server]) as up:
        up.said("Ctrl-C stops all")
        with Up(tmp_path / "second", "--middleware-port", port, servers=[f"127.0.0.1:{free_port()}"]) as second:
            assert second.process.wait(PATIENCE) == 1
            assert f"1 of 2 are taken: middleware {middleware}" in second.log.read_text()
        with Up(tmp_path / "second", "--no-check", "--middleware-port", port, servers=[f"127.0.0.1:{free_port()}"]) as second:
            assert second.process.wait(PATIENCE) == 1
            taken = f"up: expected a free address to listen on, got {middleware}: Address already in use"
            assert taken in second.log.read_text()
            assert "are ready" not in second.log.read_text()


def test_two_deployments_that_look_for_ports_at_the_same_time_find_different_ones() -> None:
    assert not {*free_ports(3)} >= {*free_ports(3)}


def test_up_loads_the_whole_store_and_callers_find_torchserve_again_after_its_death(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for version in ("9.0", "10.0"):
        make_archive(store, "mix", version, handler=PERSIA_HANDLER)
    batch = (MIX / "golden" / "batch16_0.bin").read_bytes()
    arguments = ["--middleware-port", "0", "--model-store", str(store), "--", "--port", "0", "--management-port", "0"]
    ready = r"TorchServe is ready: inference on (\S+), management on (\S+), tokens in ([^,]+), .*models: mix 10.0, mix 9.0\n"
    # Sockets need a shorter path than pytest's.
    with tempfile.TemporaryDirectory(prefix="up-") as state, Up(tmp_path, "--state", state, *arguments) as up:

        def scores(said: re.Match[str]) -> list[float]:
            address, management, token_file = said.groups()
            with contextlib.closing(Management(management, Tokens(file=token_file))) as models:
                assert models.default("mix").version == "10.0"
            with Client("mix", address, token_file=token_file) as client:
                return [float(score) for score in client.predict(batch).reshape(-1)]

        first = up.said(ready + r"(?s:.*)Ctrl-C")
        before = scores(first)
        (torchserve,) = (pid for pid, command in up.children().items() if " torchserve " in command)
        os.kill(torchserve, signal.SIGKILL)
        again = up.said(f"torchserve ended with -9(?s:.*){ready}")
        assert again[3] == first[3]
        assert scores(again) == before


READY_OPTIONS: list[dict[str, Any]] = [
    {},
    {"http_port": 1, "http_management_port": 2},
    {"tokens": False, "model_api": False},
    {"tokens": False, "model_api": False, "http_port": 1},
]


@pytest.mark.parametrize("options", READY_OPTIONS, ids=str)
def test_up_understands_what_torchserve_says_when_it_is_ready(options: dict[str, Any]) -> None:
    server = TorchServe(Options(Path("/store"), (), **options), Path("/my state, of today"))
    line = ready_line(server, [Planned(name, "1.0", "ctr.mar", True) for name in ("ctr", "other")])
    token_file = "/my state, of today/key_file.json" if server.options.tokens else ""
    found = find_ready_line(f"2024-01-01 00:00:00,000 INFO torchserve: {line}\n")
    assert found == line
    assert (line.inference, line.management, line.token_file) == ("127.0.0.1:7070", "127.0.0.1:7071", token_file)
    assert find_ready_line("2024-01-01 00:00:00,000 INFO torchserve: SIGTERM: up to 30 s for requests that run\n") is None


def test_up_passes_on_that_torchserve_is_to_run_without_tokens_and_over_http(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    arguments = ["--middleware-port", "0", "--model-store", str(tmp_path / "store"), "--", "--no-tokens"]
    arguments += ["--port", "0", "--management-port", "0", "--http-port", "0"]
    with tempfile.TemporaryDirectory(prefix="up-") as state, Up(tmp_path, "--state", state, *arguments) as up:
        said = up.said(
            r"TorchServe is ready: .* management on (\S+), .* HTTP on port (\d+), no tokens, (?s:.*)Ctrl-C stops all"
        )
        with contextlib.closing(Management(said[1])) as models:
            assert models.list() == []
        with urllib.request.urlopen(f"http://127.0.0.1:{said[2]}/ping", timeout=PATIENCE) as answer:
            assert b"Healthy" in answer.read()


def test_up_ends_when_something_cannot_start_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    arguments = ["--model-store", str(tmp_path / "store"), "--models", "no.mar", "--middleware-port", "0"]
    with Up(tmp_path, *arguments) as up:
        assert up.process.wait(PATIENCE) == 1
        assert re.search(r"(?s)FAIL +archive: no.mar.*up: the check failed, so nothing was started", up.log.read_text())
        assert not (up.state / "embedding-server-0.log").exists()
    with Up(tmp_path, "--no-check", *arguments) as up:
        assert up.process.wait(PATIENCE) == 1
        assert re.search(r"(?s)up: torchserve ended with 2; .*torchserve\.log ends with:\n.*no\.mar", up.log.read_text())
        assert up.children() == {}


def test_up_leaves_a_users_config_as_it_is_where_its_own_files_go(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with Up(tmp_path, "--state", str(tmp_path), "--middleware-port", port) as up:
            assert up.process.wait(PATIENCE) == 1
    assert "servers" not in (tmp_path / "global_config.yaml").read_text()
    assert "servers" in (tmp_path / "global_config.with_servers.yaml").read_text()


@pytest.mark.parametrize("server", ["10.1.2.3:8888", "shard.example:8888"])
def test_up_starts_nothing_for_another_machine(tmp_path: Path, server: str) -> None:
    with Up(tmp_path, servers=[server]) as up:
        assert up.process.wait(PATIENCE) == 2
        assert f"expected servers on this machine (127.0.0.1), got {server}" in up.log.read_text()
