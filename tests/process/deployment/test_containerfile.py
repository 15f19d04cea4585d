"""What deploy/Containerfile runs, tried without an image."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.servers import PATIENCE

FILES = {"torch/testing/_internal/py312_intrinsics.py": False, "torch/testing/intrinsics.py": True, "msgspec/a.py": True}


@pytest.mark.parametrize(("name", "ends"), FILES.items())
def test_what_does_not_compile_ends_the_build_but_for_the_file_that_is_meant(name: str, ends: bool, tmp_path: Path) -> None:
    """A package that is for another Python would otherwise be found when a pod starts."""
    lines = (ROOT / "deploy" / "Containerfile").read_text().replace("\\\n", "")
    steps = re.findall(r"^RUN (set -eu;.*compileall.*)$", lines, re.MULTILINE)
    (command,) = [step.strip() for step in steps[0].split(";") if "compileall" in step]
    assert "||" not in command  # which would let everything pass
    lib = tmp_path / "opt" / "persia" / "lib"
    (lib / name).parent.mkdir(parents=True)
    (lib / name).write_text("def f[(:\n")
    (lib / "good.py").write_text("A = 1\n")
    words = [sys.executable, *shlex.split(command)[1:-1], str(lib)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode != 0) == ends, done.stdout
    assert name.rpartition("/")[2] in done.stdout if ends else done.stdout == ""
    assert list(lib.glob("__pycache__/good.*.pyc"))
