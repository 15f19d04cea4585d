"""The packages that an archive asks for with a requirements.txt: installed once for each content, and kept.

TorchServe installs them again for each registration. Here the same requirements, for the same Python, are found again where
they were installed before. What pip is told by the environment (PIP_INDEX_URL, PIP_FIND_LINKS, PIP_NO_INDEX) holds here, too.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persia.errors import InvalidInput
from persia.system.lock import locked
from persia.system.regular import open_regular

from .refusals import RequirementsFailed

__all__ = ["Installed", "install"]

log = logging.getLogger(__name__)

_INSTALL = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input")
_PACKAGES = ("*.whl", "*.tar.gz", "*.zip")
_LINES_OF_PIP = 20
_VENV_PACKAGES = "lib/python*/site-packages"
_SERVER_PACKAGES = "of_the_server.pth"


@dataclass(frozen=True)
class Installed:
    """What the workers of a model are started with: a Python, and a directory of packages that goes before its own."""

    python: str = sys.executable
    packages: Path | None = None


def install(model: str, directory: Path, requirements: Path, cache: Path, venv: bool) -> Installed:
    """Raises RequirementsFailed. venv: the packages get a Python environment of their own, that sees the server's as well."""
    # pip runs in the archive's directory, where a relative path would be another one.
    directory, requirements, cache = directory.absolute(), requirements.absolute(), cache.absolute()
    if not requirements.is_file():
        raise RequirementsFailed(model, f"the archive has no file {requirements.name}")
    try:
        place = cache / _key(requirements, directory, venv)
    except InvalidInput as error:
        raise RequirementsFailed(model, str(error)) from error
    cache.mkdir(parents=True, exist_ok=True)
    names = _named(requirements)
    with locked(place.with_suffix(".lock")):
        if place.is_dir() and names and not _has_packages(place, venv):
            shutil.rmtree(place)  # of a release that took an empty directory for an installation
        if not place.is_dir():
            log.info("installing the requirements of %s into %s", model, place)
            with tempfile.TemporaryDirectory(dir=cache, prefix="new-") as scratch:
                new = Path(scratch, "installed")
                (_make_venv if venv else _make_packages)(model, new, place, directory, requirements)
                if names and not _has_packages(new, venv):
                    raise RequirementsFailed(model, f"pip has installed nothing, where {requirements.name} asks for {names[0]}")
                new.rename(place)
    return Installed(python=str(place / "bin" / "python")) if venv else Installed(packages=place)


def _key(requirements: Path, directory: Path, venv: bool) -> str:
    """Of everything that decides what is installed: the requirements, packages in the archive, and this Python.

    Raises InvalidInput for what only looks like a file.
    """
    content = hashlib.sha256(repr((sys.executable, sysconfig.get_platform(), sys.version, venv)).encode())
    packages = sorted(path for pattern in _PACKAGES for path in directory.rglob(pattern))
    for path in (requirements, *packages):
        with open_regular(path) as file:
            content.update(path.name.encode() + b"\0" + hashlib.sha256(file.read()).digest())
    return content.hexdigest()


def _named(requirements: Path) -> list[str]:
    """The lines that ask for a package in any environment: no options, and none with a marker, which may not hold here."""
    lines = (line.partition(" #")[0].strip() for line in requirements.read_text(errors="replace").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-")) and ";" not in line]


def _has_packages(place: Path, venv: bool) -> bool:
    packages = place.glob(_VENV_PACKAGES) if venv else [place]
    return any(entry.name != _SERVER_PACKAGES for directory in packages for entry in directory.iterdir())


def _make_packages(model: str, new: Path, _place: Path, directory: Path, requirements: Path) -> None:
    _run_pip(model, directory, [sys.executable, *_INSTALL, "--target", str(new), "--requirement", str(requirements)])
    new.mkdir(exist_ok=True)  # requirements may be empty


def _make_venv(model: str, new: Path, place: Path, directory: Path, requirements: Path) -> None:
    """A link to Python, the packages, and a file that lets it see those of the server."""
    _run_pip(model, directory, [sys.executable, "-m", "venv", "--without-pip", str(new)])
    packages = next(new.glob(_VENV_PACKAGES))
    _run_pip(model, directory, [sys.executable, *_INSTALL, "--target", str(packages), "--requirement", str(requirements)])
    own = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    lines = [f"import site; site.addsitedir({path!r})" for path in own]
    (packages / _SERVER_PACKAGES).write_text("\n".join(lines) + "\n")
    config = new / "pyvenv.cfg"
    config.write_text(config.read_text().replace(str(new), str(place)))


def _run_pip(model: str, directory: Path, command: Sequence[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        last_lines = "\n".join((ended.stdout + ended.stderr).splitlines()[-_LINES_OF_PIP:])
        log.error("the requirements of %s could not be installed:\n%s", model, last_lines)
        raise RequirementsFailed(model, "see the server's log")
