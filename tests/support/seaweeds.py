"""A real object store that speaks S3: SeaweedFS, which `make seaweedfs` installs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from persia.storage import Store, place_of
from tests.support.places import ROOT
from tests.support.servers import free_port, wait_until

WEED = ROOT / "build" / "seaweedfs" / "bin" / "weed"
ACCESS_KEY, SECRET_KEY = "access", "secret"


def needs_seaweed() -> None:
    """Skips a test where there is none."""
    if not WEED.exists():
        pytest.skip(f"needs SeaweedFS in {WEED}: make seaweedfs")


class Seaweed:
    """`environment` is what makes clients ask this store; it has to be set before any of them is made."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        ports = {name: free_port() for name in ("master", "volume", "filer")}
        self._command = [str(WEED), "server", f"-dir={directory}", "-ip=127.0.0.1", "-filer", "-s3", f"-s3.port={self.port}"]
        self._command += [f"-s3.config={directory / 's3.json'}", "-master.volumeSizeLimitMB=64"]
        self._command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # which would listen on ports that all servers share
        self._command += [f"-{name}.port={port}" for name, port in ports.items()]
        self.environment = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Returns when it has taken a file. REQUIRES: the environment is this store's."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self.directory)
        wait_until(self._answers, "the store answers")

    def stop(self) -> None:
        """What it has stays on disk."""
        self.process.kill()
        self.process.wait()

    def store(self, path: str) -> Store:
        """A directory of the one bucket."""
        return place_of(self.url(path)).open()

    def url(self, path: str) -> str:
        return f"s3://tests/{path}"

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.directory / "log").read_text()[-3000:]
        try:
            self.store("start").put("ready", b"")
        except OSError:
            return False
        return True


@contextmanager
def running_seaweed(directory: Path) -> Iterator[Seaweed]:
    """One that this process and its children ask, for as long as the block lasts."""
    directory.mkdir(parents=True)
    seaweed = Seaweed(directory)
    os.environ.update(seaweed.environment)
    seaweed.start()
    try:
        yield seaweed
    finally:
        seaweed.stop()
