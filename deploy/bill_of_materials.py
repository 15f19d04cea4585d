"""Prints what an image has in CycloneDX (1.5): the packages of an environment of Python, and those of Debian.

    python3 deploy/bill_of_materials.py /opt/persia > sbom.cdx.json

The same packages give the same bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

# What is taken out again when all is installed.
TOOLS = {"pip", "setuptools"}


def python_packages(environment: Path) -> Iterator[dict[str, Any]]:
    """Those that are installed in the environment."""
    for found in distributions(path=[str(path) for path in environment.glob("lib/python3*/site-packages")]):
        name = found.metadata["Name"].lower().replace("_", "-").replace(".", "-")
        if name not in TOOLS:
            yield _component(name, found.version, f"pkg:pypi/{quote(name)}@{quote(found.version)}")


def debian_packages() -> Iterator[dict[str, Any]]:
    """Those of this system; none if it is no Debian."""
    form = "${db:Status-Status} ${Package} ${Version} ${Architecture}\n"
    try:
        listed = subprocess.run(["dpkg-query", "--show", f"--showformat={form}"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return
    for line in listed.stdout.splitlines():
        status, name, version, architecture = line.split()
        if status == "installed":
            yield _component(name, version, f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}")


def bill_of_materials(environment: Path) -> dict[str, Any]:
    """As CycloneDX has it, without times and random numbers."""
    components = sorted([*python_packages(environment), *debian_packages()], key=lambda one: str(one["purl"]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "persia-serve", "bom-ref": "persia-serve"}},
        "components": components,
    }


def _component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    json.dump(bill_of_materials(Path(sys.argv[1])), sys.stdout, indent=1)
