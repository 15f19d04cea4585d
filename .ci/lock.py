"""Writes constraints.txt: what pip resolves today, for each of the interpreters named as arguments.

A version that only some interpreters can have gets a marker. torch's pin is kept as it is: not every index has a build of it
for every interpreter.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
HEADER = "# What `make setup` installs. Written by `make lock`, except for torch's version.\n"
# What torch brings along, whichever of its builds it is.
UNDER_TORCH = ["filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy", "typing-extensions"]


def canonical(requirement: str) -> str:
    """The name of the distribution that is required, in the spelling of the indexes."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def requirements(project: dict[str, Any]) -> list[str]:
    """All that pyproject.toml asks for, for whatever purpose."""
    lists = [project["build-system"]["requires"], project["project"]["dependencies"]]
    lists += project["project"]["optional-dependencies"].values()
    lists += project["dependency-groups"].values()
    return sorted({item for items in lists for item in items if isinstance(item, str)})


def resolve(python: str, wanted: list[str]) -> tuple[str, dict[str, str]]:
    """The interpreter's version (such as 3.11), and the name and version of all that pip would install for it."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        options = ["--quiet", "--dry-run", "--ignore-installed", f"--report={report}"]
        subprocess.run([sys.executable, "-m", "pip", f"--python={python}", "install", *options, *wanted], check=True)
        found = json.loads(report.read_text())
    versions = {canonical(item["metadata"]["name"]): item["metadata"]["version"] for item in found["install"]}
    return found["environment"]["python_version"], versions


def pins(name: str, resolved: list[tuple[str, dict[str, str]]]) -> list[str]:
    """The lines for one distribution: one for each run of neighbouring interpreters that get the same version."""
    runs: list[tuple[str, str]] = []  # the first interpreter, the version
    for python, versions in resolved:
        if name in versions and (not runs or runs[-1][1] != versions[name]):
            runs.append((python, versions[name]))
    lines = []
    for i, (first, version) in enumerate(runs):
        bounds = [f"python_version >= '{first}'"] if i > 0 else []
        bounds += [f"python_version < '{runs[i + 1][0]}'"] if i + 1 < len(runs) else []
        lines.append(f"{name}=={version}" + (f"; {' and '.join(bounds)}" if bounds else ""))
    return lines


def main(pythons: list[str]) -> None:
    """Resolves for each interpreter, merges, writes."""
    if not pythons:
        sys.exit("which interpreters? make lock PYTHONS='python3.10 python3.11 ...'")
    constraints = ROOT / "constraints.txt"
    torch = [line for line in constraints.read_text().splitlines() if canonical(line) == "torch"]
    wanted = requirements(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    wanted = [item for item in wanted if canonical(item) != "torch"]
    resolved = [resolve(python, [*wanted, *UNDER_TORCH, "pip"]) for python in pythons]
    resolved.sort(key=lambda item: [int(part) for part in item[0].split(".")])
    names = sorted({name for _, versions in resolved for name in versions})
    lines = [line for name in names for line in pins(name, resolved)]
    constraints.write_text(HEADER + "\n".join(sorted([*lines, *torch])) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
