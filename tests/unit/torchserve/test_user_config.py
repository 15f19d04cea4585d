"""`persia-launcher torchserve --ts-config`: what a user's config.properties says is done, or refused with what to write."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from persia.deployment.check import check_arguments
from persia.deployment.plan import DeploymentPlan
from persia.errors import InvalidInput
from persia.torchserve.run import command as torchserve_command
from persia.torchserve.run.options import Directories, Options, properties
from persia.torchserve.run.process import TorchServe
from persia.torchserve.run.user_config import read_user_config
from tests.support.torchserves import make_archive

TOKENS = "disable_token_authorization=false\n"
USERS = """\
loads_model = all
inference_address=http://0.0.0.0:18080
management_address=http://127.0.0.1:18081
metrics_address=http://127.0.0.1:18082
grpc_inference_port=17070
grpc_management_port=17071
number_of_netty_threads=32
job_queue_size=1000
load_models=ctr=probe-1.0.mar
default_workers_per_model=2
default_response_timeout=300
max_request_size=100000000
async_logging=true
vmargs=-Xmx3g
disable_token_authorization=true
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """The options of what would have been started."""
    found: list[Options] = []

    def run(server: TorchServe, *_: Any) -> int:
        found.append(server.options)
        return 0

    monkeypatch.setattr(torchserve_command, "run", run)
    return found


def start(directory: Path, text: str, *arguments: str) -> Result:
    path = directory / "config.properties"
    path.write_text(text)
    return CliRunner().invoke(torchserve_command.torchserve, ["--ts-config", str(path), *arguments])


def test_what_it_says_is_done_and_the_command_line_goes_before_it(
    tmp_path: Path, started: list[Options], caplog: pytest.LogCaptureFixture
) -> None:
    make_archive(tmp_path / "store", "probe")
    text = f"{USERS}model_store={tmp_path / 'store'}\n"
    with caplog.at_level(logging.WARNING):
        assert start(tmp_path, text).exit_code == 0, caplog.text
        assert start(tmp_path, text, "--queue", "7", "--workers", "3", "--http-port", "0", "--host", "127.0.0.1").exit_code == 0
    first, second = started
    assert (first.host, first.http_port, first.http_management_port) == ("0.0.0.0", 18080, 18081)
    assert (first.port, first.management_port, first.queue, first.heap) == (17070, 17071, 1000, "3g")
    assert (first.tokens, first.model_api, first.models) == (False, False, [("ctr", "probe-1.0.mar")])
    assert first.max_message_bytes == 96 << 20  # whole MiB
    written = properties(first, Directories(tmp_path)).splitlines()
    assert {"number_of_netty_threads=32", "default_workers_per_model=2", "default_response_timeout=300"} < {*written}
    assert len({line.partition("=")[0] for line in written}) == len(written)
    assert (second.queue, second.http_port, second.host) == (7, 0, "127.0.0.1")
    assert "default_workers_per_model=3" in properties(second, Directories(tmp_path))
    assert "TorchServe has no key loads_model and ignores it: write load_models" in caplog.text
    assert "metrics_address is the launcher's own affair, and is not taken from config.properties" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inference_address=https://0.0.0.0/8080", "write http://0.0.0.0:8080 (https needs certificate_file"),
        ("job_queue_size=many", "expected a whole number of at least 1 as job_queue_size, got many"),
        ("inference_address=unix:/tmp/x", "inference_address: expected http://HOST:PORT, got unix:/tmp/x"),
        (
            "management_address=http://0.0.0.0:8081",
            "management_address: expected http://127.0.0.1:8081, got http://0.0.0.0:8081",
        ),
        ("vmargs=-Xmx4g -Dx=y", "vmargs: expected -Xmx and a size alone, such as -Xmx4g, got -Xmx4g -Dx=y"),
        (
            "inference_address=http://0.0.0.0:8080\ngrpc_inference_address=10.0.0.1",
            "expected one host for HTTP and gRPC, got 0.0.0.0 and 10.0.0.1",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(tmp_path: Path, text: str, said: str) -> None:
    refused = start(tmp_path, f"{TOKENS}{text}\n", "--model-store", str(tmp_path))
    assert refused.exit_code == 1
    assert said in " ".join(refused.output.split())


def test_tls_is_a_proxys(tmp_path: Path) -> None:
    for name in ("certificate_file", "private_key_file"):
        (tmp_path / name).write_text("")
    lines = [f"{name}={tmp_path / name}" for name in ("certificate_file", "private_key_file")]
    path = tmp_path / "config.properties"
    path.write_text("\n".join([*lines, "inference_address=https://0.0.0.0:8443", TOKENS]))
    with pytest.raises(InvalidInput, match=r"serves without TLS: put a proxy before it"):
        read_user_config(path)


def test_up_checks_it_too(tmp_path: Path) -> None:
    plan = DeploymentPlan(
        state=tmp_path,
        global_config=tmp_path,
        embedding_config=tmp_path,
        servers=(),
        middleware="127.0.0.1:1",
        model_store=tmp_path,
        models=["all"],
        ts_config=tmp_path / "config.properties",
    )
    arguments = check_arguments(plan)
    assert arguments[arguments.index("--ts-config") + 1] == str(tmp_path / "config.properties")
