"""TorchServe as its users start it, without our launcher: its Java, a config.properties, and no tokens."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from persia.system.java import find_java
from tests.support.servers import PATIENCE, free_port, wait_until
from tests.support.torchserves import LATE_TORCH

__all__ = ["PlainTorchServe", "torchserve_home"]


def torchserve_home() -> Path:
    """The directory that TorchServe's package lies in."""
    spec = importlib.util.find_spec("ts")
    assert spec is not None and spec.origin is not None, "torchserve is not installed"
    return Path(spec.origin).parents[1]


class PlainTorchServe:
    """On free ports of the loopback address. With `with`, it is ended at the end, and what it left is removed."""

    def __init__(self, directory: Path, store: Path, **properties: object) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # Its sockets lie there, and paths of sockets are short.
        self._temporary = Path(tempfile.mkdtemp(prefix="ts-"))
        places = (f"127.0.0.1:{free_port()}" for _ in range(5))
        self.rest, self.management, self.metrics, self.grpc, self.grpc_management = places
        config = directory / "config.properties"
        addresses = {
            "inference_address": f"http://{self.rest}",
            "management_address": f"http://{self.management}",
            "metrics_address": f"http://{self.metrics}",
            "grpc_inference_port": self.grpc.rpartition(":")[2],
            "grpc_management_port": self.grpc_management.rpartition(":")[2],
            "disable_system_metrics": "true",
        }
        config.write_text("".join(f"{key}={value}\n" for key, value in {**addresses, **properties}.items()))
        home = torchserve_home()
        command = [
            find_java(),
            f"-Dmodel_server_home={home}",
            f"-Djava.io.tmpdir={self._temporary}",
            *("-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer"),
            *("--python", sys.executable, "-f", str(config), "-s", str(store)),
            *("-ncs", "--disable-token-auth", "--enable-model-api"),
        ]
        self._log = directory / "java.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **LATE_TORCH}
            )

    def wait_started(self) -> None:
        """Until it listens."""

        def started() -> bool:
            text = self._log.read_text(errors="replace")
            assert self._process.poll() is None, text
            return "Model server started." in text

        wait_until(started, "TorchServe starts")

    def __enter__(self) -> PlainTorchServe:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._temporary, ignore_errors=True)
