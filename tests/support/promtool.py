"""What Prometheus' own tool says of pages, rules and queries."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.servers import PATIENCE


def run_promtool(*arguments: str | Path, text: str = "", directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Skips the test where it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool: apt-get install prometheus")
    return subprocess.run(
        [program, *arguments], input=text, capture_output=True, text=True, timeout=PATIENCE, cwd=directory, check=False
    )


def assert_promtool_accepts(page: str) -> None:
    """A page of metrics whose names, units and kinds are as they should be."""
    done = run_promtool("check", "metrics", text=page)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
