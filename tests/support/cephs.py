"""A real Ceph with its RADOS gateway, in a root of Debian trixie of its own below build/ceph, which `make ceph-test` makes."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.s3_servers import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.servers import PATIENCE, free_port, wait_until

CEPH = ROOT / "build" / "ceph"
DATA = "/mnt"  # where a server has its directory, inside

# In mount points of its own, which end with the process. What is mounted as /mnt is all that two servers do not share.
ENTER = """
root=$1 data=$2; shift 2
mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"; mount --bind "$data" "$root/mnt"
exec chroot "$root" "$@"
"""

SETTINGS = f"""
[global]
fsid = {{fsid}}
mon initial members = a
mon host = [v2:127.0.0.1:{{port}}]
public network = 127.0.0.1/8
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
osd memory target = 939524096
bluestore block size = 4294967296
bluestore fsck on mount = false
keyring = {DATA}/$name.keyring
mon data = {DATA}/mon
osd data = {DATA}/osd
run dir = {DATA}
log file = {DATA}/log
[client.rgw.a]
rgw data = {DATA}
rgw frontends = beast endpoint=127.0.0.1:{{gateway}}
rgw thread pool size = 32
debug rgw = 0
"""


def needs_ceph() -> None:
    """Skips a test where there is none."""
    if not (CEPH / "usr" / "bin" / "radosgw").exists():
        pytest.skip(f"needs Ceph in {CEPH}: make ceph-test")
    if os.geteuid() != 0:
        pytest.skip("needs root, for a root directory of Ceph's own")


class Ceph(S3Server):
    """A monitor, an OSD on a sparse file, and a gateway."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._fsid, self._port = str(uuid.uuid4()), free_port()
        text = SETTINGS.format(fsid=self._fsid, port=self._port, gateway=self.port)
        (directory / "ceph.conf").write_text(text)
        self._processes: list[subprocess.Popen[bytes]] = []

    def launch(self) -> None:
        """See S3Server."""
        if first := not (self.directory / "mon").exists():
            self._make_monitor()
        self._start("ceph-mon", "-i", "a")
        if first:
            self._make_osd()
        self._start("ceph-osd", "-i", "0")
        wait_until(lambda: b"1 up" in self._run("ceph", "osd", "stat"), "the OSD is up")
        if first:
            self._key("client.rgw.a", "mon", "allow rw", "osd", "allow rwx")
        self._start("radosgw", "-n", "client.rgw.a")
        if first:
            keys = (f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}")
            self._run("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests", *keys)

    def stop(self) -> None:
        """See S3Server."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    def check_alive(self) -> None:
        """See S3Server."""
        assert all(process.poll() is None for process in self._processes), self._said()

    def _make_monitor(self) -> None:
        for name in ("mon", "osd"):
            (self.directory / name).mkdir()
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        admin, monitor = f"{DATA}/client.admin.keyring", f"{DATA}/mon.a.keyring"
        self._run("ceph-authtool", "--create-keyring", admin, "--gen-key", "-n", "client.admin", *everything)
        self._run("ceph-authtool", "--create-keyring", monitor, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._run("ceph-authtool", monitor, "--import-keyring", admin)
        address = f"[v2:127.0.0.1:{self._port}]"
        self._run("monmaptool", "--create", "--addv", "a", address, "--fsid", self._fsid, f"{DATA}/monmap")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{DATA}/monmap", "--keyring", monitor)

    def _make_osd(self) -> None:
        identity = str(uuid.uuid4())
        self._run("ceph", "osd", "create", identity)
        self._key("osd.0", "mon", "allow profile osd", "osd", "allow *")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)

    def _key(self, name: str, *rights: str) -> None:
        self._run("ceph", "auth", "get-or-create", name, *rights, "-o", f"{DATA}/{name}.keyring")

    def _start(self, *command: str) -> None:
        with (self.directory / "said").open("ab") as said:
            process = subprocess.Popen(self._inside(*command, "--foreground"), stdout=said, stderr=said)
        self._processes.append(process)

    def _run(self, *command: str) -> bytes:
        done = subprocess.run(self._inside(*command), capture_output=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode()[-3000:]}\n{self._said()}"
        return done.stdout

    def _said(self) -> str:
        path = self.directory / "said"
        return path.read_text()[-3000:] if path.exists() else ""

    def _inside(self, *command: str) -> list[str]:
        enter = ["unshare", "--mount", "sh", "-e", "-c", ENTER, "enter", str(CEPH), str(self.directory)]
        return [*enter, *command, "-c", f"{DATA}/ceph.conf"]
