"""What machines have on their disks when they start for the first time: the images, unpacked once for all of them.

containerd never writes to a file of an image again, so the disks share the files by hard links. Its databases are copied.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.support.cluster.machines import run
from tests.support.servers import wait_until

FOLDER = "containerd"  # of a machine's directory


class Template:
    """A disk that no machine has."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket, self._contents = directory / "containerd.sock", directory / "contents.json"

    def fill(self, archives: list[Path]) -> None:
        """Imports these images, unless they are there. They stay for the next run."""
        wanted = json.dumps([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in archives])
        if self._contents.exists() and self._contents.read_text() == wanted:
            return
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        config = self._directory / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self._directory / FOLDER}"\nstate = "{self._directory / "state"}"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{self._socket}"\n'
            f'[plugins."io.containerd.internal.v1.opt"]\n  path = "{self._directory / "opt"}"\n'
        )
        with (self._directory / "log").open("ab") as log:
            containerd = subprocess.Popen(
                ["containerd", "--config", str(config)], stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until(self._answers, "containerd answers")
            for archive in archives:
                self._ctr("--namespace", "k8s.io", "images", "import", str(archive))
        finally:
            containerd.terminate()  # it closes its databases
            containerd.wait()
        self._contents.write_text(wanted)

    def copy_to(self, disk: Path) -> None:
        """Makes this the disk of a machine."""
        run("cp", "--archive", "--link", str(self._directory / FOLDER), str(disk / FOLDER))
        for database in (disk / FOLDER).glob("*/*.db"):
            content = database.read_bytes()
            database.unlink()
            database.write_bytes(content)

    def _answers(self) -> bool:
        try:
            self._ctr("version")
        except AssertionError:
            return False
        return True

    def _ctr(self, *arguments: str) -> None:
        run("ctr", "--address", str(self._socket), *arguments)
