"""The whole way from Keras, HugeCTR and TorchRec, by the examples as they are called there.

tests/data/dumps/keras_ctr is what examples/from_keras/train.py wrote, with the versions in its versions.txt.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.imported import DUMPS
from tests.support.places import ROOT

pytestmark = pytest.mark.whole_way

EXAMPLES = ROOT / "examples"
CLOSE = 2e-3


def run(*command: object) -> str:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("system", ["keras", "hugectr"])
def test_scores_are_equal_before_and_after_an_update(system: str, tmp_path: Path) -> None:
    made = DUMPS / "keras_ctr"
    if system == "hugectr":
        made = tmp_path / "made"
        run(EXAMPLES / "from_hugectr" / "make_dump.py", made)
    with tempfile.TemporaryDirectory(prefix="from-") as out:  # sockets need a shorter path than pytest's
        said = run(EXAMPLES / f"from_{system}" / f"from_{system}.py", made, out)
    numbers = [float(number) for number in re.findall(r"difference (\S+)", said)]
    moved = re.search(r"scores moved by up to ([\d.]+)", said)
    assert len(numbers) == 2 and max(numbers) < CLOSE
    assert moved and float(moved[1]) > 10 * CLOSE  # or the update would show nothing


@pytest.mark.skipif(importlib.util.find_spec("torchrec") is None, reason="TorchRec is not installed: `make torchrec` does it")
def test_scores_of_torchrec_are_equal_before_and_after_an_update() -> None:
    with tempfile.TemporaryDirectory(prefix="from-") as out:
        said = run(EXAMPLES / "from_torchrec" / "from_torchrec.py", out)
    first, second = (float(number) for number in re.findall(r"difference (\S+)", said))
    moved = re.search(r"scores moved by up to ([\d.]+)", said)
    assert max(first, second) < 1e-6
    assert moved and float(moved[1]) > 10 * CLOSE
