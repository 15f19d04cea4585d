"""Every command of the pages for those who come from other systems; those of TorchRec are in test_torchrec.py."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from persia.importers import verify_import
from persia.launcher import main
from tests.support.imported import DUMPS
from tests.support.places import ROOT
from tests.support.raw_dumps import KEYS, write_hps


def write_sparse_files(directory: Path) -> None:
    for name in ("user", "ad"):
        write_hps(directory / "sparse_files" / f"deep_{name}_sparse_1000.model", rows=np.ones((len(KEYS), 8)))


SOURCES: dict[str, Callable[[Path], object]] = {
    "torch": lambda to: shutil.copy(DUMPS / "torch" / "nested.pt", to / "model.pt"),
    "tensorflow": lambda to: shutil.copy(DUMPS / "keras_ctr" / "model.keras", to / "model.keras"),
    "hugectr": write_sparse_files,
}


@pytest.mark.parametrize("system", SOURCES)
def test_the_commands_of_a_page_do_what_it_says(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / f"coming-from-{system}.md").read_text()
    SOURCES[system](tmp_path)
    config, tables = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "embedding_config.yml").write_text(config)
    (tmp_path / "tables.yml").write_text(tables)
    commands = re.findall(r"^    persia-launcher (.+)$", page, re.MULTILINE)
    assert len(commands) == 2
    monkeypatch.chdir(tmp_path)
    for command in commands:
        done = CliRunner().invoke(main, shlex.split(command))
        assert done.exit_code == 0, done.output
    assert (tmp_path / "proposal" / "tables.yml").exists()
    assert all(table.rows for table in verify_import(tmp_path / "checkpoint").tables)
