"""Times that users set: how long they may be, and how a command line takes them."""

from __future__ import annotations

import math
from typing import Any

import click

__all__ = ["LONGEST_SECONDS", "Seconds"]

# As good as for ever. gRPC takes deadlines that its clock cannot hold, from about 7e9 seconds on, for ones that are over.
LONGEST_SECONDS = 1e9


class Seconds(click.FloatRange):
    """From 0 to LONGEST_SECONDS. Click's own ranges let nan through, which no comparison finds."""

    def __init__(self) -> None:
        super().__init__(0, LONGEST_SECONDS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"expected a number of seconds, got {value}", param, ctx)
        return seconds
