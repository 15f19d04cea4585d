"""`persia-launcher COMMAND ...`: one command for every server and tool that is installed."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click

__all__ = ["main"]

# Servers and tools announce themselves here, so that this package need not know them.
GROUP = "persia.commands"


class _Installed(click.Group):
    """Imports a command only when it is asked for: a tool starts without what a server needs."""

    @staticmethod
    def _found() -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._found().get(cmd_name)
        if entry is None:
            return None
        command = entry.load()
        assert isinstance(command, click.Command), f"{entry.value} is not a command"
        return command


@click.group(cls=_Installed)
@click.version_option(package_name="persia-serve")
def main() -> None:
    """Serving for recommendation models with huge embedding tables."""


if __name__ == "__main__":
    main(prog_name="persia-launcher")
