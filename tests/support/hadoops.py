"""A real HDFS: a name node and a data node of Hadoop 2.7.3, from the jars that PyPI's pyspark 2.4.8 and Debian have.

`python -m tests.support.hadoops` installs them into build/hdfs; `make storage-test` does so, too. They need a Java, which the
environment has for TorchServe.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from persia.storage import Store, place_of
from persia.system.java import find_java
from tests.support.places import ROOT
from tests.support.servers import free_port, wait_until

HOME = ROOT / "build" / "hdfs"
DEBIAN = ("libjersey1-core-java", "libjersey1-server-java", "libjersey1-servlet-java", "libjersey1-json-java")
DEBIAN_TOO = ("libjsr311-api-java", "libasm-java")
OPENED = ("java.lang", "java.util", "java.io", "java.net", "java.nio", "sun.nio.ch", "java.lang.reflect")


def needs_hadoop() -> None:
    """Skips a test where there is none."""
    if not (HOME / ".installed").exists():
        pytest.skip(f"needs Hadoop in {HOME}: make storage-test")


def install() -> None:
    """As setuptools of today cannot even say what pyspark 2.4.8 is, an environment with an older one downloads it."""
    HOME.mkdir(parents=True, exist_ok=True)
    environment = HOME / "venv"
    run(sys.executable, "-m", "venv", str(environment))
    pip = str(environment / "bin" / "pip")
    run(pip, "install", "--quiet", "setuptools==58.0.0", "wheel")
    run(pip, "download", "--quiet", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "pyspark==2.4.8")
    with tarfile.open(HOME / "pyspark-2.4.8.tar.gz") as archive:
        for member in archive:
            if member.isfile() and "/deps/jars/" in member.name and member.name.endswith(".jar"):
                content = archive.extractfile(member)
                assert content is not None
                (HOME / Path(member.name).name).write_bytes(content.read())
    (HOME / "pyspark-2.4.8.tar.gz").unlink()
    run("apt-get", "download", "--quiet", *DEBIAN, *DEBIAN_TOO)
    for package in HOME.glob("*.deb"):
        run("dpkg", "-x", str(package), "debian")
    (HOME / ".installed").touch()


def run(*command: str) -> None:
    subprocess.run(command, cwd=HOME, check=True)


class Hadoop:
    """One name node and one data node, without a replica elsewhere."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        web, data, ipc, http = (free_port() for _ in range(4))
        settings = {
            "fs.defaultFS": f"hdfs://127.0.0.1:{self.port}",
            "hadoop.tmp.dir": str(directory / "tmp"),
            "dfs.replication": "1",
            "dfs.permissions.enabled": "true",
            "dfs.namenode.http-address": f"127.0.0.1:{web}",
            "dfs.namenode.secondary.http-address": "127.0.0.1:0",
            "dfs.datanode.address": f"127.0.0.1:{data}",
            "dfs.datanode.ipc.address": f"127.0.0.1:{ipc}",
            "dfs.datanode.http.address": f"127.0.0.1:{http}",
            "dfs.namenode.safemode.extension": "0",
            "dfs.heartbeat.interval": "1",
        }
        properties = (f"<property><name>{name}</name><value>{value}</value></property>" for name, value in settings.items())
        text = f"<configuration>{''.join(properties)}</configuration>"
        for name in ("core-site.xml", "hdfs-site.xml"):
            (directory / name).write_text(text)
        for name in ("hdfs", "datanode", "secondary"):
            (directory / "webapps" / name / "WEB-INF").mkdir(parents=True)
            (directory / "webapps" / name / "WEB-INF" / "web.xml").write_text("<web-app></web-app>")
        jars = [*(HOME / "debian" / "usr" / "share" / "java").glob("*.jar"), *HOME.glob("*.jar")]
        opens = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED]
        kerberos = "java.security.jgss/sun.security.krb5=ALL-UNNAMED"
        self._java = [str(find_java()), *opens, f"--add-opens={kerberos}", f"--add-exports={kerberos}", "-Xmx300m"]
        self._java += ["-cp", ":".join([str(directory), *map(str, jars)])]
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Returns when it has taken a file."""
        if not (self.directory / "tmp").exists():
            self._java_class("org.apache.hadoop.hdfs.server.namenode.NameNode", "-format", "-nonInteractive").wait()
        self._processes = [
            self._java_class("org.apache.hadoop.hdfs.server.namenode.NameNode"),
            self._java_class("org.apache.hadoop.hdfs.server.datanode.DataNode"),
        ]
        wait_until(self._answers, "HDFS answers")

    def stop(self) -> None:
        """What it has stays on disk."""
        for process in self._processes:
            process.kill()
            process.wait()

    @contextmanager
    def hanging(self, node: int) -> Iterator[None]:
        """The name node (0) or the data node (1) takes connections and answers nothing."""
        self._processes[node].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._processes[node].send_signal(signal.SIGCONT)

    def url(self, path: str) -> str:
        return f"hdfs://127.0.0.1:{self.port}/{path}"

    def store(self, path: str) -> Store:
        return place_of(self.url(path)).open()

    def _java_class(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen([*self._java, name, *arguments], stdout=log, stderr=log, cwd=self.directory)

    def _answers(self) -> bool:
        assert all(process.poll() is None for process in self._processes), (self.directory / "log").read_text()[-3000:]
        try:
            self.store("start").put("ready", b"ready")
        except OSError:
            return False
        return True


if __name__ == "__main__":
    install()
