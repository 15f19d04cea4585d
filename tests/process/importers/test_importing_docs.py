"""Every command of docs/importing.md."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.imported import TORCHREC
from tests.support.places import ROOT

PAGE = (ROOT / "docs" / "importing.md").read_text()


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
