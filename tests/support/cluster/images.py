"""The images of the cluster: that of the deployment, from deploy/Containerfile, and that of a pod's network.

Both are made before the cluster starts, which reaches no registry.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from tests.support.cluster.pause import write_pause_image
from tests.support.places import ROOT

REPOSITORY = "localhost/persia-serve"  # no registry: a machine that does not have it can only fail
EXTRAS = "hdfs,s3,torchserve,traces"
_SOURCES = ("client", "embedding_server", "handlers", "middleware", "model_server", "native", "persia")
_FILES = ("CMakeLists.txt", "constraints.txt", "deploy/Containerfile", "deploy/bill_of_materials.py", "pyproject.toml")


def make_images(directory: Path) -> tuple[str, list[Path]]:
    """The name of the deployment's image, and the archives of all. What has not changed since the last time stays."""
    directory.mkdir(parents=True, exist_ok=True)
    tag = fingerprint()
    archive, pause = directory / f"persia-serve-{tag}.tar", directory / "pause.tar"
    if not pause.exists():
        write_pause_image(pause)
    if not archive.exists():
        for old in directory.glob("persia-serve-*.tar"):
            old.unlink()
        _build(archive, f"{REPOSITORY}:{tag}")
    return f"{REPOSITORY}:{tag}", [pause, archive]


def fingerprint() -> str:
    """Of all that goes into the image."""
    paths = [path for folder in _SOURCES for path in (ROOT / folder).rglob("*") if path.is_file()]
    paths += [ROOT / name for name in _FILES]
    digest = hashlib.sha256()
    for path in sorted(path for path in paths if "__pycache__" not in path.parts):
        digest.update(f"{path.relative_to(ROOT)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    digest.update(EXTRAS.encode())
    return digest.hexdigest()[:12]


def _build(archive: Path, name: str) -> None:
    subprocess.run(["make", "image", f"IMAGE={name}", f"EXTRAS={EXTRAS}"], cwd=ROOT, check=True)
    partial = archive.with_suffix(".part")
    partial.unlink(missing_ok=True)
    subprocess.run(["buildah", "push", "--quiet", name, f"docker-archive:{partial}:{name}"], check=True)
    partial.rename(archive)
