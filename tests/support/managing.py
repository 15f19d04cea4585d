"""`persia-launcher manage` for tests, and what it left."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from persia.client.manage_command import manage as manage_command
from persia.torchserve.management import Management
from tests.support.torchserves import TorchServeRun, make_archive


def broken_archive(store: Path, name: str, version: str = "1.0") -> str:
    return make_archive(store, name, version, handler="unloadable")


def options(run: TorchServeRun) -> list[str]:
    return ["--address", run.management_address, "--token-file", str(run.token_file)]


def manage(run: TorchServeRun, *arguments: str) -> Result:
    """`persia-launcher manage`, within this process."""
    return CliRunner().invoke(manage_command, [*options(run), *arguments])


def versions(management: Management, name: str) -> list[tuple[str, bool]]:
    return [(model.version, model.is_default) for model in management.list() if model.name == name]
