"""The README's Python runs: its blocks in order, as one program, in which warnings are errors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.middlewares import Middleware
from tests.support.places import ROOT
from tests.support.servers import EmbeddingServer
from tests.support.torchserves import TorchServeRun

README = (ROOT / "README.md").read_text()
# Of the batch that the README makes.
CONFIG = "slots_config: {user: {dim: 4}, tags: {dim: 8}}"


def test_the_code_in_the_readme_runs(tmp_path: Path, torchserve: TorchServeRun) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    config = tmp_path / "embedding_config.yml"
    config.write_text(CONFIG)
    with EmbeddingServer(tmp_path, config) as shard, Middleware(tmp_path, config, [shard.address]).wait_ready() as middleware:
        there = {
            "127.0.0.1:8887": middleware.address,
            "127.0.0.1:7070": torchserve.address,
            "key_file.json": str(torchserve.token_file),
            '"ctr"': '"shapes"',
            "timeout=1.0": "timeout=20.0",  # for a machine that is busy
        }
        show = "print(scores.shape, [tuple(tensor.shape) for tensor in embeddings], len(dense))"
        program = "\n".join([*blocks, show])
        for shown, real in there.items():
            assert program.count(shown) == 1
            program = program.replace(shown, real)
        command = [sys.executable, "-W", "error", "-c", program]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "(2, 4) [(2, 4), (2, 8)] 1\n"
