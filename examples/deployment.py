"""What examples that bring a model have in common: commands that they run, and `persia-launcher up` until they are done."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from persia.batch import PersiaBatch
from persia.client.predict import Client
from persia.system.address import free_ports

__all__ = ["launch", "served", "wait_for_scores", "write_global_config"]

Scores = npt.NDArray[np.float32]
PATIENCE = 60.0
# Scores are served from embeddings in f16.
CLOSE = 2e-3


def launch(*arguments: str | Path) -> None:
    """`persia-launcher` with these arguments. Raises SystemExit with what it said if it fails."""
    command = [sys.executable, "-m", "persia.launcher", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"persia-launcher {arguments[0]} ended with {run.returncode}:\n{run.stdout}{run.stderr}")


def write_global_config(out: Path) -> None:
    """With the checkpoint and the packets that lie in that directory."""
    section = {"embedding_checkpoint": str(out / "checkpoint")}
    updates = {"enable_incremental_update": True, "incremental_dir": str(out / "packets")}
    content = {"common_config": {"infer_config": section}, "embedding_parameter_server_config": updates}
    (out / "global_config.yaml").write_text(yaml.safe_dump(content))


@contextmanager
def served(out: Path, model: str) -> Iterator[Client]:
    """`persia-launcher up` of what lies in that directory, until the `with` ends. Raises SystemExit with what it said."""
    middleware, port, *others = free_ports(5)
    listeners = dict(zip(("inference_address", "management_address", "grpc_management_port"), others, strict=True))
    lines = [f"{key}={'' if key.startswith('grpc') else 'http://127.0.0.1:'}{value}" for key, value in listeners.items()]
    (out / "config.properties").write_text("\n".join([f"grpc_inference_port={port}", "enable_metrics_api=false", *lines]))
    command = [sys.executable, "-m", "persia.launcher", "up", "--front", "model-server", "--state", str(out / "state")]
    command += ["--global-config", str(out / "global_config.yaml"), "--embedding-config", str(out / "embedding_config.yml")]
    command += ["--model-store", str(out / "store"), "--middleware-port", str(middleware)]
    command += ["--ts-config", str(out / "config.properties")]
    log = out / "up.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        wait_until(lambda: "Ctrl-C stops all" in log.read_text() or process.poll() is not None)
        if process.poll() is not None:
            raise SystemExit(f"persia-launcher up ended with {process.returncode}:\n{log.read_text()}")
        with Client(model, f"127.0.0.1:{port}", token_file=out / "state" / "model-server" / "key_file.json") as client:
            yield client
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def wait_for_scores(client: Client, batch: PersiaBatch, expected: Scores) -> float:
    """Waits until these scores are served; returns how far they are apart. Raises SystemExit after a minute."""

    def apart() -> float:
        return float(np.abs(np.reshape(client.predict(batch), -1) - np.reshape(expected, -1)).max())

    wait_until(lambda: apart() < CLOSE)
    return apart()


def wait_until(condition: Callable[[], object]) -> None:
    """Asks again and again until it is so. Raises SystemExit after a minute."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {PATIENCE:.0f} s in vain")
        time.sleep(0.02)
