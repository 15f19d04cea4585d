"""The served path of an export: real embedding servers and a middleware, and the archive's handler, each a process."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from persia.config import EMBEDDING_CONFIG_VARIABLE, GLOBAL_CONFIG_VARIABLE
from persia.deployment.deployment import Deployment
from persia.deployment.plan import DeploymentPlan
from persia.errors import ExportError
from persia.service import SERVICE_VARIABLE
from persia.system.address import free_ports

from .answer import read_answer

__all__ = ["served_answer", "write_archive"]

log = logging.getLogger(__name__)

_LAUNCHER = [sys.executable, "-m", "persia.launcher"]


def write_archive(
    name: str,
    version: str,
    model: Path,
    out: Path,
    sample: Path,
    embedding_config: Path,
    *,
    single: Iterable[str],
    ids: Mapping[str, str],
) -> Path:
    """`persia-launcher archive`, with the sample. Raises ExportError with what the command said.

    single: features of which each sample has exactly one id. ids: whether callers send text or integers, by feature.
    """
    arguments: list[str | Path] = ["--model", model, "--name", name, "--version", version, "--out", out]
    arguments += ["--sample", sample, "--embedding-config", embedding_config]
    arguments += [f"--single={feature}" for feature in single]
    arguments += [word for feature, kind in ids.items() for word in ("--ids", feature, kind)]
    _run([*_LAUNCHER, "archive", *map(str, arguments)], {}, "the archive cannot be written")
    return out / f"{name}-{version}.mar"


def served_answer(
    directory: Path, checkpoint: Path, embedding_config: Path, shards: int, archive: Path, sample: Path
) -> tuple[dict[str, np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]]:
    """The scores of the sample by name, and the embeddings that the dense half saw, in its order.

    directory: an empty one, for logs and configs. Raises ExportError, Unavailable.
    """
    if importlib.util.find_spec("ts") is None:
        raise ExportError(
            "the proof runs the archive's handler, which needs TorchServe: pip install 'persia-serve[torchserve]'"
        )
    *ports, middleware = free_ports(shards + 1)
    servers = [[f"127.0.0.1:{port}"] for port in ports]
    infer = {"servers": [server for (server,) in servers], "embedding_checkpoint": str(checkpoint)}
    global_config = directory / "global_config.yaml"
    global_config.write_text(yaml.safe_dump({"common_config": {"infer_config": infer}}))
    plan = DeploymentPlan(
        state=directory,
        global_config=global_config,
        embedding_config=embedding_config,
        servers=servers,
        middleware=f"127.0.0.1:{middleware}",
    )
    deployment = Deployment(plan, log.info, _pause)
    out = directory / "answer.npz"
    try:
        deployment.start()
        environment = {
            SERVICE_VARIABLE: plan.middleware,
            GLOBAL_CONFIG_VARIABLE: str(global_config),
            EMBEDDING_CONFIG_VARIABLE: str(embedding_config),
        }
        command = [sys.executable, "-m", "persia.export.answer"]
        command += ["--archive", str(archive), "--batch", str(sample), "--out", str(out)]
        _run(command, environment, "the archive's handler does not answer the sample")
    finally:
        deployment.stop()
    return read_answer(out)


def _pause(seconds: float) -> bool:
    """For Child.wait_ready, which is never to give up."""
    time.sleep(seconds)
    return False


def _run(command: list[str], environment: dict[str, str], problem: str) -> None:
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if run.returncode:
        lines = run.stderr.strip().splitlines()
        raise ExportError(f"{problem}: {lines[-1] if lines else f'exit code {run.returncode}'}\n{run.stderr.strip()}")
