"""The guide for model authors: its code is one program, and its commands serve what the program exports.

The tests are the guide's sections, in order: each goes on where the one before has stopped.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.places import ROOT
from tests.support.servers import PATIENCE, free_port, wait_until
from tests.support.torchserves import LAUNCHER

GUIDE = (ROOT / "docs" / "model-authors.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
MODEL, EXPORT, ASK, DETAILS, OTHER, CHANGED, ELSEWHERE, DELETED = BLOCKS

pytestmark = [pytest.mark.whole_way, pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")]


def command_of(name: str) -> list[str]:
    """The guide's `persia-launcher NAME ...`."""
    (line,) = re.findall(rf"^    persia-launcher {name} (.+)$", GUIDE.replace("\\\n", " "), re.MULTILINE)
    return [str(LAUNCHER), name, *shlex.split(line)]


class Reader(ExitStack):
    """Somebody who follows the guide, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self.callback(os.chdir, os.getcwd())
        os.chdir(directory)
        self.names: dict[str, Any] = {"__name__": "guide"}
        self.run(MODEL)
        self.run(EXPORT)

    def run(self, block: str) -> None:
        """As a part of the program. TorchScript reads the source of modules from their file."""
        path = self.directory / f"block_{len(list(self.directory.glob('block_*')))}.py"
        path.write_text(block)
        exec(compile(block, str(path), "exec"), self.names)

    def up(self) -> None:
        """The guide's command, on other ports; and the guide's question, which goes there."""
        port = free_port()
        state = self.enter_context(tempfile.TemporaryDirectory(prefix="up-"))  # sockets need a shorter path than pytest's
        command = [*command_of("up"), "--middleware-port", "0", "--state", state, "--", "--port", str(port)]
        log = self.directory / "up.log"
        with log.open("wb") as out:
            process = subprocess.Popen([*command, "--management-port", "0"], stdout=out, stderr=out)
        self.callback(process.wait, PATIENCE)
        self.callback(process.send_signal, signal.SIGINT)

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return "Ctrl-C stops all" in log.read_text()

        wait_until(is_ready, "all of it is served")
        self.run(ASK.replace("127.0.0.1:7070", f"127.0.0.1:{port}").replace("key_file.json", f"{state}/ts/key_file.json"))
        self.callback(self.names["client"].close)

    def scores(self) -> np.ndarray[Any, Any]:
        scores: np.ndarray[Any, Any] = self.names["client"].predict(self.names["batch"])
        return scores

    def changes(self, block: str) -> None:
        """Waits until the scores are others than before the block."""
        before = self.scores()
        self.run(block)
        wait_until(lambda: abs(self.scores() - before).max() > 1e-4, "the scores change")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with Reader(tmp_path_factory.mktemp("reader")) as following:
        yield following


def test_the_guide_does_not_send_its_readers_to_another_system() -> None:
    words = re.sub(r"persia-(serve|launcher)|\bpersia\.[\w.]+|PersiaBatch|/tmp/persia\S*", "", GUIDE)
    assert "persia" not in words.lower()


def test_the_model_is_exported_with_proof_and_the_check_agrees(reader: Reader) -> None:
    assert reader.names["export"].proof.samples == 3
    check = subprocess.run(command_of("check"), capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr


def test_the_served_score_is_the_models_own(reader: Reader) -> None:
    reader.up()
    inputs = {"user": [5], "tags": [3, 29], "offsets": [0], "history": [[10, 11, 12, 13]], "country": [1]}
    with torch.no_grad():
        own = reader.names["model"](torch.from_numpy(reader.names["numbers"][:1]), *map(torch.tensor, inputs.values()))
    np.testing.assert_allclose(reader.names["scores"], own.numpy(), atol=1e-3)
    reader.run(DETAILS)
    np.testing.assert_allclose(reader.names["scores"], own.numpy(), atol=1e-3)


def test_rows_are_changed_and_deleted(reader: Reader) -> None:
    reader.changes(CHANGED)
    reader.run(ELSEWHERE)
    reader.changes(DELETED)


def test_a_table_may_be_a_mapping(reader: Reader) -> None:
    reader.run(OTHER)
    assert os.listdir("other/store") == ["model-1.0.mar"]
