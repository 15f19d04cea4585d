"""`persia-launcher import` of real files, killed at random times by SIGKILL, and given again until it ends."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from persia.errors import CorruptFile
from persia.formats.checkpoint import open_checkpoint
from persia.importers import ImportReport, read_report, verify_import
from persia.importers.report import REPORT
from persia.importers.unfinished import WORK
from tests.support.places import ROOT
from tests.support.servers import wait_until

pytestmark = pytest.mark.whole_way

ROWS, DIM = 60_000, 16
ROUNDS = 6
CONFIG = f"slots_config:\n  user: {{dim: {DIM}}}\n  item: {{dim: {DIM}}}\n"
TABLES = "slots:\n  user: {table: user.rows}\n  item: {table: item_embedding.weight}\n"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a source of two tables, one of them with ids, and a config and a map for it."""
    to, rng = tmp_path_factory.mktemp("killed"), np.random.default_rng(5)
    rows = rng.normal(size=(2, ROWS, DIM)).astype(np.float32)
    ids = rng.choice(2**50, ROWS, replace=False)
    save_file({"user.ids": ids, "user.rows": rows[0], "item_embedding.weight": rows[1]}, to / "model.safetensors")
    (to / "embedding_config.yml").write_text(CONFIG)
    (to / "tables.yml").write_text(TABLES)
    return to


def start(directory: Path, out: Path) -> subprocess.Popen[bytes]:
    command = ["safetensors", directory / "model.safetensors", out, "--shards", "2", "--files", "2"]
    command += ["--embedding-config", directory / "embedding_config.yml", "--map", directory / "tables.yml"]
    arguments = [sys.executable, "-m", "tests.support.import_saving_often", *map(str, command)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ended(directory: Path, out: Path) -> ImportReport:
    with start(directory, out) as process:
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()
    return read_report(out / REPORT)


def files_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.emb"))}


def killed(directory: Path, out: Path, choice: random.Random, seconds: float) -> bool:
    """Whether it had saved something. Each second one is killed after it has, the others at any time of a whole import."""
    state = out / WORK / "progress.json"
    with start(directory, out) as process:
        if choice.random() < 0.5:
            wait_until(lambda: state.exists() or process.poll() is not None, "the import has saved something")
            time.sleep(choice.uniform(0, seconds / 8))
        else:
            time.sleep(choice.uniform(0, seconds))
        process.kill()
        process.communicate()
    return state.exists()


def test_a_killed_import_goes_on_to_the_same_bytes(directory: Path) -> None:
    began = time.monotonic()
    report = ended(directory, directory / "straight")
    seconds, straight = time.monotonic() - began, files_of(directory / "straight")
    assert report.tables[0].ids == "keys" and sum(table.rows for table in report.tables) == 2 * ROWS
    choice, saved = random.Random(22), 0
    for round in range(ROUNDS):
        out = directory / str(round)
        for _ in range(3):
            saved += killed(directory, out, choice, seconds)
            if (out / "embedding_dump_done").exists():
                verify_import(out)
                break
            if out.exists():
                with pytest.raises(CorruptFile):
                    open_checkpoint(out)
        else:
            assert ended(directory, out) == report
        assert files_of(out) == straight, round
        assert read_report(out / REPORT) == report
    assert saved > 1
