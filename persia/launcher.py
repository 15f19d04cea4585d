"""`persia-launcher COMMAND ...`: one command for every server and tool that is installed."""

from __future__ import annotations

import os
import signal
from importlib import import_module

import click

__all__ = ["main"]

# By name, and none is imported before it is asked for: a tool starts without what a server needs. The names stand here rather
# than in the package's entry points because looking through those of all that is installed takes longer than this import.
COMMANDS = {
    "embedding-server": "persia.embedding_server.__main__:main",
    "embedding-parameter-server": "persia.embedding_server.__main__:main",
    "middleware": "persia.middleware.__main__:main",
    "embedding-worker": "persia.middleware.__main__:main",
    "checkpoint": "persia.embedding_server.tools.commands:checkpoint",
    "packet": "persia.embedding_server.tools.commands:packet",
    "epochs": "persia.embedding_server.tools.epochs:epochs",
    "up": "persia.deployment.command:up",
    "check": "persia.checking.command:check",
    "certificates": "persia.security.certificates_command:certificates",
    "health": "persia.monitoring.health_command:health",
    "console": "persia.monitoring.console_command:console",
    "archive": "persia.torchserve.archive.command:archive",
    "compare": "persia.torchserve.archive.compare.command:compare",
    "torchserve": "persia.torchserve.run.command:torchserve",
    "model-server": "persia.model_server.command:model_server",
    "drift": "persia.client.drift_command:drift",
    "plan": "persia.planning.command:plan",
    "rollout": "persia.rollout.command:rollout",
    "replay": "persia.replay.command:replay",
    "import": "persia.importers.command:import_command",
    "infer": "persia.client.infer_command:infer",
    "manage": "persia.client.manage_command:manage",
}


class _Installed(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        _end_by_sigterm()  # before what takes its time
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command), f"{module}.{name} is not a command"
        return command


def _end_by_sigterm() -> None:
    """The first process of a container ends by SIGTERM, as any other does: the system ignores it there without a handler.

    What handles SIGTERM by itself later, as servers do, goes before this.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))


@click.group(cls=_Installed)
@click.version_option(package_name="persia-serve")
def main() -> None:
    """Serving for recommendation models with huge embedding tables."""


if __name__ == "__main__":
    main(prog_name="persia-launcher")
