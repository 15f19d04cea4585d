"""The commands of docs/disaster-recovery.md: what they copy is enough for the same rows, and nothing is stopped for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tests.support.epoch_deployments import EpochDeployment
from tests.support.epoch_rows import DIM, SIGNS
from tests.support.places import ROOT
from tests.support.servers import PATIENCE

PAGE = (ROOT / "docs" / "disaster-recovery.md").read_text()
BACKUP, RESTORE = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(commands: str, data: Path, backup: Path, configs: Path) -> None:
    environment = os.environ | {"DATA": str(data), "BACKUP": str(backup), "CONFIGS": str(configs)}
    subprocess.run(["sh", "-euc", commands], env=environment, check=True, timeout=PATIENCE)


def test_a_restored_deployment_has_the_rows_and_the_epochs_of_the_backup(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    with ExitStack() as stack:
        deployment = EpochDeployment(data, stack, replicas=(1,))
        (server,) = deployment.servers
        configs = shutil.copytree(data, tmp_path / "configs", ignore=shutil.ignore_patterns("packets", "checkpoint"))
        for epoch in range(2, 5):  # the first one is of the checkpoint alone
            deployment.wait_for_epoch(epoch - 1)
            deployment.trainer.leave(np.arange(20 * epoch, 20 * epoch + 30))
        deployment.wait_for_epoch(4)
        records, packets = BACKUP.splitlines()[:2], BACKUP.splitlines()[2:]
        run("\n".join(records), data, backup, configs)
        deployment.trainer.leave(np.arange(200, 230))  # which no record of the backup names
        deployment.wait_for_epoch(5)
        run("\n".join(packets), data, backup, configs)
        expected, _ = server.rows(SIGNS, DIM)
        deployment.trainer.leave(np.arange(0, 100))  # after the backup, and so lost
        deployment.wait_for_epoch(6)
        server.kill()
        assert not (backup / "packets" / ".applied").exists()
        shutil.rmtree(data / "packets")
        shutil.rmtree(data / "checkpoint")

        run(RESTORE, data, backup, configs)
        server.start()
        server.wait_ready()
        deployment.wait_for_epoch(5)
        found, answer = server.rows(SIGNS, DIM)
        assert np.array_equal(found, expected)
        assert answer.absent == 0
        deployment.trainer.leave(np.arange(0, 100))
        deployment.wait_for_epoch(6)
