"""A real object store that speaks S3: SeaweedFS, which `make seaweedfs` installs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.servers import free_port

WEED = ROOT / "build" / "seaweedfs" / "bin" / "weed"


def needs_seaweed() -> None:
    """Skips a test where there is none."""
    if not WEED.exists():
        pytest.skip(f"needs SeaweedFS in {WEED}: make seaweedfs")


class Seaweed(S3Server):
    """One process with all of its servers."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self._command = [str(WEED), "server", f"-dir={directory}", "-ip=127.0.0.1", "-filer", "-s3", f"-s3.port={self.port}"]
        self._command += [f"-s3.config={directory / 's3.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=200"]
        self._command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # which would listen on ports that all servers share
        self._command += ["-master.telemetry=false"]
        # Those for gRPC would be 10,000 higher, where the kernel gives ports to clients.
        grpc = [f"{part}.port.grpc" for part in ("master", "volume", "filer", "s3")]
        ports = ("master.port", "volume.port", "filer.port", *grpc)
        self._command += [f"-{name}={free_port()}" for name in ports]

    def launch(self) -> None:
        """See S3Server."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self.directory)

    def stop(self) -> None:
        """See S3Server."""
        self.process.kill()
        self.process.wait()

    def check_alive(self) -> None:
        """See S3Server."""
        assert self.process.poll() is None, (self.directory / "log").read_text()[-3000:]
