"""The homes that are tried: how each is started on a port, and what it must have to run. TorchServe is the first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

__all__ = ["HOMES", "Home"]

BIN = str(Path(sys.executable).parent)


@dataclass(frozen=True)
class Home:
    """`{port}` in the command is the port to listen on, `{store}` TorchServe's model store."""

    name: str
    needs: Sequence[str]
    command: Sequence[str]
    grpc: bool = False

    @property
    def missing(self) -> list[str]:
        """Modules that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]

    def command_on(self, port: int, store: Path) -> list[str]:
        return [part.format(port=port, store=store) for part in self.command]


_TORCHSERVE = [
    sys.executable,
    "-m",
    "persia.launcher",
    "torchserve",
    "--model-store",
    "{store}",
    "--models",
    "text=text-1.0.mar",
]
_TORCHSERVE += ["--no-tokens", "--management-port", "0"]
_GUNICORN = [f"{BIN}/gunicorn", "flask_home:app", "--bind", "127.0.0.1:{port}", "--workers", "1", "--log-level", "warning"]

# One process of each, so that the table compares like with like.
HOMES = [
    Home("TorchServe", ["ts"], [*_TORCHSERVE, "--port", "0", "--http-port", "{port}"]),
    Home("TorchServe, gRPC", ["ts"], [*_TORCHSERVE, "--port", "{port}"], grpc=True),
    Home(
        "FastAPI, uvicorn",
        ["fastapi", "uvicorn"],
        [f"{BIN}/uvicorn", "fastapi_home:app", "--port", "{port}", "--log-level", "warning"],
    ),
    Home("Flask, gunicorn, 4 threads", ["flask", "gunicorn"], [*_GUNICORN, "--threads", "4"]),
    Home("Flask, gunicorn, gevent", ["flask", "gunicorn", "gevent"], [*_GUNICORN, "--worker-class", "gevent"]),
    Home("BentoML", ["bentoml"], [f"{BIN}/bentoml", "serve", "bentoml_home:Text", "--port", "{port}"]),
    Home("Ray Serve", ["ray"], [sys.executable, "ray_home.py", "--port", "{port}"]),
    Home("gRPC", ["grpc"], [sys.executable, "grpc_home.py", "--port", "{port}"], grpc=True),
]
