"""Real TorchServes for tests, started by the launcher on free ports, and archives for them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persia.client.predict import Client
from persia.torchserve.archive.model_config import model_config
from persia.torchserve.archive.writing import write_archive
from persia.torchserve.management import Management
from persia.torchserve.tokens import Tokens
from tests.support.golden import GOLDEN, arrays_of
from tests.support.places import ROOT
from tests.support.servers import PATIENCE, wait_until

LATE_TORCH = {"PYTHONPATH": str(Path(__file__).parent / "late_torch")}  # in the environment of a TorchServe
HANDLERS = Path(__file__).parent / "torchserve_handlers"
LAUNCHER = Path(sys.executable).with_name("persia-launcher")
MIX = GOLDEN / "mix"
PERSIA_HANDLER = ROOT / "handlers" / "persia_handler.py"


def make_archive(
    store: Path,
    name: str,
    version: str = "1.0",
    handler: str | Path = "probe",
    *,
    model: Path = MIX / "ckpt" / "jit_dense.pt",
    extra: Sequence[Path] = (),
    persia: Mapping[str, Any] | None = None,
    **settings: Any,
) -> str:
    """The name of a new archive in the store: golden/mix's dense model with one of the handlers here, or another one's path.

    persia: settings of our own handler.
    """
    store.mkdir(parents=True, exist_ok=True)
    if handler == "golden_scores":
        (store / "data").mkdir(exist_ok=True)
        extra = [store / "data" / "golden.npz"]
        extra[0].write_bytes((MIX / "golden" / "batch16_0.npz").read_bytes())
    out = store / f"{name}-{version}.mar"
    config = model_config({"persia": dict(persia)} if persia else {}, **settings)
    path = handler if isinstance(handler, Path) else HANDLERS / f"{handler}.py"
    write_archive(out, name, version, model, path, config, extra)
    return out.name


def make_plain_archive(store: Path, name: str, model: Path) -> str:
    """As make_archive, of our handler, by TorchServe's own tool and without any settings: a user may make it so."""
    store.mkdir(parents=True, exist_ok=True)
    archiver = LAUNCHER.with_name("torch-model-archiver")
    options = {"model-name": name, "version": "1.0", "serialized-file": model, "handler": PERSIA_HANDLER, "export-path": store}
    subprocess.run([archiver, *(f"--{option}={value}" for option, value in options.items())], check=True)
    return f"{name}.mar"


class TorchServeRun:
    """`persia-launcher torchserve` in a process of its own. With `with`, it is stopped at the end, and killed if it must."""

    def __init__(
        self, directory: Path, store: Path, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log_path = directory / "launcher.log"
        # A path as short as sockets need it; pytest's are long.
        command = [
            str(LAUNCHER),
            "torchserve",
            "--model-store",
            str(store),
            "--port",
            "0",
            "--management-port",
            "0",
            *arguments,
        ]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**(environment or os.environ), **LATE_TORCH})

    def log(self) -> str:
        return self.log_path.read_text()

    def said(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Waits until the launcher has said it."""

        def found() -> re.Match[str] | None:
            ended = self.process.poll()
            match = re.search(pattern, self.log())
            assert match or ended is None, f"ended with {ended}:\n{self.log()}"
            return match

        match: re.Match[str] = wait_until(found, f"the launcher says {pattern!r}", seconds)
        return match

    def wait_ready(self, seconds: float = PATIENCE) -> TorchServeRun:
        """seconds: more for many models, whose workers all start at once."""
        self.said("ready: ", seconds)
        return self

    @property
    def address(self) -> str:
        return self.said(r"inference on (\S+),")[1]

    @property
    def management_address(self) -> str:
        return self.said(r"management on (\S+),")[1]

    @property
    def token_file(self) -> Path:
        return Path(self.said(r"tokens in (\S+),")[1])

    @property
    def logs(self) -> Path:
        return Path(self.said(r"logs in (\S+),")[1])

    def client(self, model: str, **options: Any) -> Client:
        return Client(model, self.address, token_file=str(self.token_file), timeout=PATIENCE, **options)

    def management(self) -> Management:
        return Management(self.management_address, Tokens(file=self.token_file), PATIENCE)

    def java(self) -> int:
        """The process of the JVM."""
        (pid,) = (int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())
        return pid

    def workers(self) -> list[int]:
        """The processes that run handlers."""
        tasks = Path(f"/proc/{self.java()}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> TorchServeRun:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.send_signal(signal.SIGINT)  # nothing to drain; two of a kind may arrive as one
            try:
                self.process.wait(PATIENCE)
            finally:
                self.process.kill()


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A launcher of which is expected that it ends by itself."""
    ports = ["--port", "0", "--management-port", "0"]
    command, environment = [str(LAUNCHER), "torchserve", *ports, *arguments], {**os.environ, **LATE_TORCH}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def scores_of_golden() -> np.ndarray:
    return arrays_of(MIX / "golden" / "batch16_0.npz")["out"].reshape(-1)


def assert_close(scores: Any, want: Any) -> None:
    """Where a last bit of f16 differs, the score does, by less than this."""
    np.testing.assert_allclose(np.reshape(scores, -1), np.reshape(want, -1), rtol=0.0, atol=1e-3)
