"""What a line of the log looks like, for people and for programs."""

from __future__ import annotations

import logging
import sys
from datetime import datetime, timezone
from typing import Any

import click
import msgspec

from persia import _core

__all__ = ["FORMAT_VARIABLE", "JsonLines", "log_format_option", "log_to_stderr"]

FORMAT_VARIABLE = "LOG_FORMAT"
FORMATS = ("text", "json")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


log_format_option = click.option(
    "--log-format",
    default="text",
    envvar=FORMAT_VARIABLE,
    show_envvar=True,
    type=click.Choice(FORMATS),
    help="Lines for people, or an object of JSON in each.",
)


class JsonLines(logging.Formatter):
    """Each record an object in one line: when, how bad, where, what; and what else the record was given as `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """What of it cannot be JSON stands there as text."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "thread": record.threadName,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def log_to_stderr(level: str, form: str) -> None:
    """From now on, also what the core writes by itself. form: one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(_TEXT))
    _core.set_problem_lines(form == "json")
    logging.basicConfig(level=level.upper(), handlers=[handler])
