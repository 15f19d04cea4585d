"""The images of the cluster: that of the deployment, from deploy/Containerfile, and that of a pod's network.

All is made before the cluster starts, which reaches no registry. The base is made of Debian's packages, and wheels come
from pip: so no registry of images is asked at all.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.support.cluster.pause import write_pause_image
from tests.support.places import ROOT

REPOSITORY = "localhost/persia-serve"
EXTRAS = "hdfs,s3,torchserve,traces"
WHEELS = "build/container/wheels"  # the one folder below build that deploy/Containerfile sees
_BASE = "localhost/persia-serve-base:1"
_SOURCES = ("client", "embedding_server", "handlers", "middleware", "model_server", "native", "persia")
_FILES = ("CMakeLists.txt", "constraints.txt", "deploy/Containerfile", "deploy/bill_of_materials.py", "pyproject.toml")
_PACKAGES = "ca-certificates,libnghttp2-14,libssl3,python3,python3-venv,zlib1g"


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
        _build(directory, archive, f"{REPOSITORY}:{tag}")
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


def _build(directory: Path, archive: Path, name: str) -> None:
    base = directory / "base.tar"
    if not base.exists():
        _call("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(base))
    wheels = ROOT / WHEELS
    for old in wheels.glob("persia_serve-*.whl"):
        old.unlink()
    wheel = (sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(wheels))
    _call(*wheel, "--no-build-isolation", "--no-deps", ".")
    (own,) = wheels.glob("persia_serve-*.whl")
    _call(*wheel, "--constraint", "constraints.txt", f"{own}[{EXTRAS}]")
    # Whatever containers the machine has otherwise is of no account, nor is what its storage is.
    buildah = ("buildah", "--root", str(directory / "storage"), "--runroot", str(directory / "storage-run"))
    base_file = directory / "Containerfile.base"
    base_file.write_text(f"FROM scratch\nADD {base.name} /\n")
    _call(*buildah, "bud", "--quiet", "--file", str(base_file), "--tag", _BASE, str(directory))
    settings = {"BASE": _BASE, "EXTRAS": EXTRAS, "WHEELS": WHEELS}
    arguments = [f"--build-arg={key}={value}" for key, value in settings.items()]
    _call(*buildah, "bud", "--quiet", *arguments, "--file", "deploy/Containerfile", "--tag", name, str(ROOT))
    partial = archive.with_suffix(".part")
    partial.unlink(missing_ok=True)
    _call(*buildah, "push", "--quiet", name, f"docker-archive:{partial}:{name}")
    partial.rename(archive)


def _call(*command: str) -> None:
    # A build needs no containers of its own.
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
