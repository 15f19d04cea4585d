"""Progress of a command, as bars on a terminal: for work of one kind, or for several kinds at the same time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

__all__ = ["progress_bar", "progress_bars"]


@contextmanager
def progress_bar(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """A function that is told how much more is done. Nothing is shown where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A function that is told the step, and how many files of it are done, of how many. Each call is for one more file.

    A bar for each step on a terminal; else a line for each tenth of it.
    """
    if not sys.stderr.isatty():
        yield _log_tenths
        return
    bars: dict[str, Any] = {}

    def advance(step: str, done: int, total: int) -> None:
        if step not in bars:
            bars[step] = click.progressbar(length=total, label=step, file=sys.stderr)
        bars[step].update(1)
        if done == total:
            bars.pop(step).render_finish()

    try:
        yield advance
    finally:
        for bar in bars.values():
            bar.render_finish()  # shows the cursor again


def _log_tenths(step: str, done: int, total: int) -> None:
    if done * 10 // total > (done - 1) * 10 // total:
        click.echo(f"{step}: {done} of {total} files", err=True)
