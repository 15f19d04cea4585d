"""Every command of docs/importing.md, and the Python of docs/coming-from-torchrec.md."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.imported import TORCHREC
from tests.support.places import ROOT

PAGE = (ROOT / "docs" / "importing.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "coming-from-torchrec.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    shutil.copytree(TORCHREC / "dcp", tmp_path / "dlrm_checkpoint")
    config, tables = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "embedding_config.yml").write_text(config)
    (tmp_path / "tables.yml").write_text(tables)
    commands = re.findall(r"^    persia-launcher (.+)$", PAGE, re.MULTILINE)
    shutil.copy(TORCHREC / "bags.npz", tmp_path / "recorded.npz")
    assert len(commands) == 4
    for command in commands:
        subprocess.run([sys.executable, "-W", "error", "-m", "persia.launcher", *command.split()], cwd=tmp_path, check=True)
    assert {path.name for path in (tmp_path / "proposal").iterdir()} == {"embedding_config.yml", "tables.yml"}
    assert (tmp_path / "checkpoint" / "embedding_dump_done").exists()


def test_the_python_of_the_page_on_torchrec() -> None:
    names: dict[str, Any] = {}
    for code in PYTHON:
        exec(code, names)
    assert [ids.tolist() for ids in names["samples"]] == [[3, 9], [], [4]]
    torch = names["torch"]

    class Plus(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, a: Any, b: Any) -> Any:
            return (a + b.sum(1)).sum(1, keepdim=True)

    model = torch.nn.Module()
    model.dense_arch, model.inter_arch, model.over_arch = torch.nn.Identity(), Plus(), torch.nn.Identity()
    scores = names["DenseHalf"](model)([torch.zeros(3, 2)], [torch.zeros(3, 2).half(), torch.ones(3, 2).half()])
    assert scores.tolist() == torch.sigmoid(torch.full((3,), 2.0)).tolist()
