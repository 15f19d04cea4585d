"""The image of the container that holds the network of a pod: a program that waits until it is told to end."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

PAUSE = "localhost/pause:1"
_PROGRAM = """
#include <signal.h>
#include <unistd.h>
static void end(int signal) { _exit(0); }
int main(void) {
    signal(SIGTERM, end);
    signal(SIGINT, end);
    for (;;) pause();
}
"""


def write_pause_image(archive: Path) -> None:
    """As an archive of Docker's format, which `ctr images import` takes."""
    program = archive.with_suffix("")
    command = ["cc", "-Os", "-static", "-s", "-x", "c", "-", "-o", str(program)]
    subprocess.run(command, input=_PROGRAM.encode(), check=True)
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as content:
        content.add(program, "pause")
    program.unlink()
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    files = {
        "manifest.json": json.dumps(manifest).encode(),
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer.getvalue(),
    }
    with tarfile.open(archive, "w") as image:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            image.addfile(entry, io.BytesIO(data))
