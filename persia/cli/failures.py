"""How a command line ends when something goes wrong that is expected to go wrong: one line on stderr, and an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import click

from persia.errors import PersiaError
from persia.system.signals import heeded

__all__ = ["CommandGroup", "ending_unwinds", "give_up", "one_line_failures"]


@contextmanager
def one_line_failures(*others: type[Exception]) -> Iterator[None]:
    """PersiaError, OSError and `others` end the command with their message alone, and exit code 1."""
    expected: tuple[type[Exception], ...] = (PersiaError, OSError, *others)
    try:
        yield
    except expected as error:
        raise click.ClickException(str(error)) from error


class CommandGroup(click.Group):
    """A group whose commands all fail with one line."""

    def invoke(self, context: click.Context) -> Any:
        with one_line_failures():
            return super().invoke(context)


def give_up(program: str, reason: str) -> NoReturn:
    """Ends the process, with exit code 2, because of how it was called."""
    click.echo(f"{program}: {reason}", err=True)
    sys.exit(2)


class _Ended(SystemExit):
    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


@contextmanager
def ending_unwinds() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is done meanwhile as Ctrl-C does, after it has cleaned up, with exit code 143 or 129."""

    def end(number: int, _frame: FrameType | None) -> None:
        # Whoever stops a process and its group, as `timeout` does, sends two; the other one must not cut the cleaning short.
        signal.signal(number, signal.SIG_IGN)
        raise _Ended(number)

    before = {number: signal.signal(number, end) for number in heeded(signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except _Ended as error:
        click.echo(f"{signal.strsignal(error.number)}!", err=True)
        raise
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is end:
                signal.signal(number, handler)
