"""`persia-launcher import` as a process: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from persia.importers import verify_import
from tests.support.imported import TORCHREC

TABLE = "sparse_arch.embedding_bag_collection.embedding_bags.t_user.weight"


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "persia.launcher", "import", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == code, result
    return result


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    (tmp_path / "embedding_config.yml").write_text("slots_config:\n  user: {dim: 8}\n")
    (tmp_path / "tables.yml").write_text(f"slots:\n  user: {{table: {TABLE}}}\n")
    return ["--embedding-config", str(tmp_path / "embedding_config.yml"), "--map", str(tmp_path / "tables.yml")]


def test_an_import_and_its_verification(tmp_path: Path, config: list[str]) -> None:
    out = tmp_path / "out"
    done = run("torch-dcp", TORCHREC / "dcp", out, *config, "--shards", 2)
    table, summary = done.stdout.splitlines()
    assert table.startswith(f"{TABLE}: 61 rows of dim 8, for user; digest ")
    assert summary == f"{out}: 61 rows stand in the checkpoint as they were read"
    report = json.loads(run("verify", out, "--json").stdout)
    assert report["tables"][0]["digest"] == table.rpartition(" ")[2] == verify_import(out).tables[0].digest


def test_a_failure_is_one_line(tmp_path: Path, config: list[str]) -> None:
    (tmp_path / "cut.pt").write_bytes((TORCHREC / "state.pt").read_bytes()[:-9])
    failed = run("torch", tmp_path / "cut.pt", tmp_path / "out", *config, "--shards", 2, code=1)
    (line,) = failed.stderr.splitlines()
    assert line.startswith(f"Error: {tmp_path}/cut.pt at byte 0: expected a file of torch.save")


def test_what_is_missing_of_the_command_line(tmp_path: Path, config: list[str]) -> None:
    failed = run("torch", TORCHREC / "state.pt", tmp_path / "out", "--shards", 2, code=2)
    assert "Missing option '--map' (or --propose" in failed.stderr
