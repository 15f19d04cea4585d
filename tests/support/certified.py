"""Files that a test asks for and shows: made by `persia-launcher certificates`, so none expires."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from persia.config import SecurityConfig, parse_global_config
from persia.launcher import main

TOKEN = "0123456789abcdef0123456789abcdef"


def run_certificates(directory: Path, *arguments: str, ends: int = 0) -> str:
    """What the command prints."""
    run = CliRunner().invoke(main, ["certificates", str(directory), *arguments])
    assert run.exit_code == ends, run.output
    return run.output


def mutual_tls(directory: Path, *arguments: str) -> SecurityConfig:
    """The section that the command prints."""
    return parse_global_config(run_certificates(directory, *arguments)).security


def token_file(directory: Path, text: str = f"trainer:{TOKEN}\n") -> str:
    path = directory / "tokens"
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)
