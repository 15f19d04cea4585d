"""`persia-launcher rollout plan`: prints the steps for more shards or a new checkpoint, and does nothing by itself."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from persia.cli.failures import one_line_failures
from persia.rollout.release import read_release, read_values
from persia.rollout.steps import Step, Target, plan_rollout

__all__ = ["rollout"]

_WIDTH = 100
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def rollout() -> None:
    """Changes of a release of the Helm chart that would stop lookups if they were made in place."""


@rollout.command("plan", context_settings={"show_default": True})
@click.argument("release")
@click.option("--values", "values", type=_FILE, multiple=True, required=True, help="Of the release; again for several files.")
@click.option("--tier-values", type=_FILE, multiple=True, help="Of the release that embeddingTier.release names.")
@click.option("--namespace", default="default", help="Where the release is.")
@click.option("--shards", type=int, help="How many shards there are to be.")
@click.option("--checkpoint", default="", help="The new checkpoint: a path in the pods, or a URL.")
@click.option("--tier", default="", help="A name for the release of new embedding servers.  [default: RELEASE-green or -blue]")
@click.option("--chart", default=Target().chart, help="The chart, as Helm finds it.")
def plan_command(
    release: str,
    values: tuple[Path, ...],
    tier_values: tuple[Path, ...],
    namespace: str,
    shards: int | None,
    checkpoint: str,
    tier: str,
    chart: str,
) -> None:
    """Print the steps by which RELEASE gets another number of shards or a new checkpoint without a pause.

    Each step has the commands for this release. Nothing is done: run them one by one, and look after each.
    """
    with one_line_failures():
        found = read_release(read_values(values), read_values(tier_values) if tier_values else None, release, namespace)
        steps = plan_rollout(found, Target(shards, checkpoint, tier, chart))
    click.echo(as_text(steps))


def as_text(steps: list[Step]) -> str:
    """The steps for somebody who does them one by one. A command is a line of its own, however long it is."""
    lines: list[str] = []
    for number, step in enumerate(steps, 1):
        lines += [*textwrap.wrap(step.title, _WIDTH, initial_indent=f"{number}. ", subsequent_indent="   "), ""]
        if step.commands:
            lines += [*(f"       {command}" for command in step.commands), ""]
        for note in step.notes:
            lines += textwrap.wrap(note, _WIDTH, initial_indent="   * ", subsequent_indent="     ")
        if step.notes:
            lines.append("")
    return "\n".join(lines).rstrip()
