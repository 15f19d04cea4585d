"""A deployment whose handlers live in the model server: the same archive, client and commands as with TorchServe."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from persia.client.predict import Client
from persia.launcher import main
from persia.torchserve.archive.handler_files import PERSIA_HANDLER
from persia.torchserve.management import Management
from persia.torchserve.schema import new_message, predictions_call
from tests.support.servers import PATIENCE, wait_until
from tests.support.stacks import MIX, Up
from tests.support.torchserves import make_archive

pytestmark = pytest.mark.whole_way

BATCH = (MIX / "golden" / "batch16_0.bin").read_bytes()
ANY_PORTS = """\
inference_address=http://127.0.0.1:0
management_address=http://127.0.0.1:0
metrics_address=http://127.0.0.1:0
grpc_inference_port=0
grpc_management_port=0
disable_token_authorization=true
default_workers_per_model=1
enable_model_api=true
"""


def test_up_starts_the_model_server_in_the_place_of_torchserve(tmp_path: Path) -> None:
    """With an archive of a store, which a local directory is to the library of stores."""
    store, config = tmp_path / "store", tmp_path / "config.properties"
    make_archive(store, "mix", handler=PERSIA_HANDLER)
    config.write_text(ANY_PORTS)
    arguments = ["--middleware-port", "0", "--shards", "2", "--model-store", f"file://{store}", "--ts-config", str(config)]
    with Up(tmp_path, *arguments, "--front", "model-server", "--log-format", "json") as up:
        line = r"the model server is ready: inference on (\S+), management on (\S+), .*no tokens, .*models: mix 1\.0\n"
        inference, management = up.said(line).groups()
        with Client("mix", inference) as client:
            scores = client.predict(BATCH)
        assert scores.shape[0] == 16 and np.isfinite(scores).all()
        with Management(management) as managed:
            assert [(model.version, len(model.workers)) for model in managed.describe("mix")] == [("1.0", 1)]
        assert "java" not in "".join(up.children().values())
        (server,) = (pid for pid, command in up.children().items() if " model-server " in command)
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: up.log.read_text().count("the model server is ready") == 2, "it is back")
        assert not (up.state / "ts").exists()
    assert up.process.returncode == 0, up.log.read_text()
    logs = [path.read_text() for path in up.state.glob("*.log")]
    assert len(logs) == 4 and all(json.loads(line)["message"] for text in logs for line in text.splitlines())
    (lost,) = (line for line in up.log.read_text().splitlines() if "ended with -9" in line)
    assert json.loads(lost)["logger"] == "persia.deployment.child"
    assert "ready to serve" not in up.log.read_text()


def test_up_starts_the_model_server_with_the_section_security(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["certificates", str(tmp_path / "made"), "--host", "127.0.0.1"])
    assert made.exit_code == 0, made.output
    security: dict[str, str] = yaml.safe_load(made.output)["security"]
    store, config = tmp_path / "store", tmp_path / "config.properties"
    make_archive(store, "mix", handler=PERSIA_HANDLER)
    config.write_text(ANY_PORTS)
    arguments = ["--middleware-port", "0", "--shards", "1", "--model-store", str(store), "--ts-config", str(config)]
    with Up(tmp_path, *arguments, "--front", "model-server", security=security) as up:
        inference, _ = up.said(r"the model server is ready: inference on (\S+), management on (\S+), ").groups()
        ca, key, certificate = (Path(security[name]).read_bytes() for name in ("ca", "client_key", "client_certificate"))
        request = new_message("PredictionsRequest", model_name="mix", input={"batch": BATCH})
        with grpc.secure_channel(inference, grpc.ssl_channel_credentials(ca, key, certificate)) as channel:
            scores = json.loads(predictions_call(channel)(request, timeout=PATIENCE).prediction)
        assert len(scores) == 16
        with grpc.secure_channel(inference, grpc.ssl_channel_credentials(ca)) as channel, pytest.raises(grpc.RpcError):
            predictions_call(channel)(request, timeout=PATIENCE)
    assert up.process.returncode == 0, up.log.read_text()
