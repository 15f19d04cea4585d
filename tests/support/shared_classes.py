"""Writes TorchServe's classes into one file that a JVM maps into its memory: with it a TorchServe starts in half of the time.

`make test-all` has it written once. Where it is missing, or was written by another Java or of another TorchServe, the JVM reads
the classes one by one, as it does at users'.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from persia.system.java import find_java
from tests.support.places import ROOT
from tests.support.plain_torchserves import torchserve_home
from tests.support.torchserves import TorchServeRun, make_archive

CLASSES = ROOT / "build" / "torchserve.jsa"
# A TorchServe of a test lives for seconds: compiling its code well, and threads to collect garbage, are half of its start.
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
JAVA_OPTIONS = f'{QUICK} "-XX:SharedArchiveFile={CLASSES}"'


def list_classes(directory: Path, into: Path) -> None:
    """Those that a TorchServe loads which starts, answers over gRPC and HTTP, and ends."""
    archive = make_archive(directory / "store", "probe")
    environment = {**os.environ, "JDK_JAVA_OPTIONS": f"{QUICK} -Xshare:off -XX:DumpLoadedClassList={into}"}
    arguments = ["--models", archive, "--http-port", "0", "--state", str(directory / "s")]
    with TorchServeRun(directory, directory / "store", arguments, environment) as run:
        with run.wait_ready().client("probe") as client, run.management() as management:
            client.predict(b"")
            management.list()
        run.stop()


def write_classes(directory: Path, out: Path) -> None:
    listed, written = directory / "classes", out.with_suffix(".part")
    list_classes(directory, listed)
    command = [find_java(), *QUICK.split(), "-Xshare:dump", "-Xlog:disable", "-Xlog:all=error"]
    command += [f"-XX:SharedClassListFile={listed}", f"-XX:SharedArchiveFile={written}"]
    subprocess.run([*command, "-cp", f"{torchserve_home()}/ts/frontend/*"], check=True, stdout=subprocess.DEVNULL)
    os.replace(written, out)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        write_classes(Path(temporary), CLASSES)
