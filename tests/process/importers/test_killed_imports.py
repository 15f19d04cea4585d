"""An import that is killed at any of its steps never leaves half a checkpoint as a whole one, and the next one goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.places import ROOT


def test_kills_at_every_step(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.killed_imports", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kills, whole = map(int, done.stdout.split())
    assert kills > 40 and 0 < whole < kills
