"""`persia-launcher health`: what a probe hears of servers that serve, load, refuse, hang, or are gone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from persia._core.security import Guard
from persia.config import SecurityConfig
from persia.launcher import main
from persia.model_server.keys import INFERENCE, KEY_FILE, MadeKeys
from persia.monitoring.health_command import Ending
from persia.security import ServerSecurity
from persia.serving.server import Server
from tests.support.certified import TOKEN, mutual_tls, token_file
from tests.support.servers import free_port


@contextmanager
def served(section: SecurityConfig | None = None, guard: Guard | None = None) -> Iterator[tuple[Server, str]]:
    """A server with the service `rows`, which does not serve yet. guard: in the place of the section's."""
    protection = ServerSecurity(section or SecurityConfig())
    server = Server(["rows"], guard=guard or protection.guard, tls=protection.tls)
    address = server.listen("127.0.0.1:0")
    server.start()
    try:
        yield server, address
    finally:
        server.stop(0)


def health(*arguments: str) -> tuple[int, str]:
    """How it ends, and what it says."""
    run = CliRunner().invoke(main, ["health", *arguments], env={"PERSIA_GLOBAL_CONFIG": None})
    return run.exit_code, run.output


def test_readiness_and_liveness() -> None:
    with served() as (server, address):
        assert health(address) == (Ending.NOT_SERVING, f"{address}: NOT_SERVING\n")
        assert health(address, "--live") == (Ending.HEALTHY, f"{address}: it answers: NOT_SERVING\n")
        server.set_serving(True)
        assert health(address) == health(address, "--service", "rows") == (Ending.HEALTHY, f"{address}: SERVING\n")
        assert health(address, "--service", "columns")[0] == Ending.NOT_SERVING
        server.leave()
        assert health(address)[0] == Ending.NOT_SERVING


def test_nobody_there() -> None:
    for arguments in (), ("--live",):
        ending, said = health(f"127.0.0.1:{free_port()}", *arguments)
        assert ending == Ending.NO_ANSWER and "127.0.0.1" in said
    ending, said = health("nowhere.invalid:1")
    assert ending == Ending.NO_ANSWER and said.count("nowhere.invalid:1") == 1


def test_a_server_that_hangs_costs_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ending, said = health(f"127.0.0.1:{silent.getsockname()[1]}", "--live", "--timeout", "0.2")
    assert ending == Ending.NO_ANSWER and said


def test_a_token(tmp_path: Path) -> None:
    file = token_file(tmp_path)
    with served(SecurityConfig(tokens=file)) as (server, address):
        server.set_serving(True)
        assert health(address)[0] == Ending.REFUSED
        ending, said = health(address, "--live")
        assert ending == Ending.HEALTHY and said.startswith(f"{address}: it answers, and refuses what it was shown: ")
        assert health(address, "--token-file", file) == (Ending.HEALTHY, f"{address}: SERVING\n")


def test_the_keys_of_a_model_server(tmp_path: Path) -> None:
    keys = MadeKeys(tmp_path / KEY_FILE, 60, needs_certificate=False)
    keys.open()
    with served(guard=keys.guards[INFERENCE]) as (server, address):
        assert health(address)[0] == Ending.REFUSED
        shown = address, "--token-file", str(keys.file)
        assert health(*shown) == (Ending.NOT_SERVING, f"{address}: NOT_SERVING\n")
        server.set_serving(True)
        assert health(*shown, "--timeout", "30") == (Ending.HEALTHY, f"{address}: SERVING\n")
        assert health(*shown, "--service", "columns")[0] == Ending.NOT_SERVING
        before = tmp_path / "before.json"
        before.write_text(keys.file.read_text())
        keys.renew(INFERENCE)
        assert health(*shown)[0] == Ending.HEALTHY
        assert health(address, "--token-file", str(before))[0] == Ending.REFUSED
    assert health(*shown)[0] == Ending.NO_ANSWER


def test_keys_go_with_tls(tmp_path: Path) -> None:
    section = mutual_tls(tmp_path / "tls")
    keys = MadeKeys(tmp_path / KEY_FILE, 60, needs_certificate=True)
    keys.open()
    with served(section, keys.guards[INFERENCE]) as (server, address):
        server.set_serving(True)
        names = [f"--{name}={getattr(section, name.replace('-', '_'))}" for name in ("ca", "client-certificate", "client-key")]
        assert health(address, *names)[0] == Ending.REFUSED
        assert health(address, *names, "--token-file", str(keys.file), "--timeout", "30")[0] == Ending.HEALTHY


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (KEY_FILE, None, "expected TorchServe's tokens in"),
        (KEY_FILE, "{}", "with a key for inference"),
        (KEY_FILE, "[]", "with a key for inference"),
        ("keys", '{"inference": 1}', "with a key for inference"),
        ("one_key", "Ab3dEf9h\n", "as for a model server's own keys, give its key_file.json"),
    ],
)
def test_files_without_a_key(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    file = tmp_path / name
    if content is not None:
        file.touch(mode=0o600)
        file.write_text(content)
    ending, said = health("localhost:1", "--token-file", str(file))
    assert ending == 2 and words in said and "Ab3dEf9h" not in said


def test_certificates_by_options_and_by_the_config(tmp_path: Path) -> None:
    section = mutual_tls(tmp_path / "tls")
    config = tmp_path / "global_config.yaml"
    config.write_bytes(msgspec.yaml.encode({"security": {k: v for k, v in msgspec.to_builtins(section).items() if v}}))
    with served(section) as (server, address):
        server.set_serving(True)
        names = [f"--{name}={getattr(section, name.replace('-', '_'))}" for name in ("ca", "client-certificate", "client-key")]
        assert health(address, *names) == (Ending.HEALTHY, f"{address}: SERVING\n")
        assert health(address, "--global-config", str(config))[0] == Ending.HEALTHY
        assert health(address, names[0])[0] != Ending.HEALTHY
        assert health(address)[0] == Ending.NO_ANSWER  # no TLS is spoken


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["8888"], "expected `host:port`, got `8888`"),
        (["http://localhost:1"], "without a scheme"),
        (["localhost:1", "--timeout", "nan"], "expected a number of seconds"),
        (["localhost:1", "--token-file", "/nowhere"], "/nowhere"),
        (["localhost:1", "--client-key", "key.pem"], "client_certificate"),
        (["localhost:1", "--global-config", "/nowhere.yaml"], "/nowhere.yaml"),
        ([], "Missing argument"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], words: str) -> None:
    ending, said = health(*arguments)
    assert ending == 2 and words in said
    assert TOKEN not in said
