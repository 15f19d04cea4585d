"""The chart of deploy/helm as Helm renders it, which `make helm` installs, and what Kubernetes' own schemas say of that."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.places import DATA, ROOT
from tests.support.servers import PATIENCE

CHART = ROOT / "deploy" / "helm" / "persia-serve"
HELM = ROOT / "build" / "helm" / "helm"
PACKAGES = ROOT / "build" / "helm" / "python"
CASES = sorted(path.stem for path in (DATA / "chart").glob("*.yaml"))
NEWEST = "1.37"
# Of Helm and kubectl, which keep notes in their home.
ENVIRONMENT = {"HOME": str(HELM.with_name("home"))}

Document = dict[str, Any]


class ChartRefused(Exception):
    """What Helm says of values that it does not take."""


def needs_helm() -> None:
    """Skips a test where there is none."""
    if not HELM.exists():
        pytest.skip(f"needs Helm in {HELM}: make helm")


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Without the settings of whoever runs the tests, and without a cluster."""
    return subprocess.run(
        [str(HELM), *arguments], capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT, check=False
    )


def values_of(case: str) -> str:
    """The file of tests/data/chart."""
    return str(DATA / "chart" / f"{case}.yaml")


@cache
def _rendered(case: str, settings: tuple[str, ...], version: str, release: str) -> str:
    arguments = ["template", release, str(CHART), "--namespace", "serving", "--kube-version", version, "-f", values_of(case)]
    for setting in settings:
        arguments += ["--set-json", setting]
    done = run_helm(*arguments)
    if done.returncode != 0:
        raise ChartRefused("\n".join(line for line in done.stderr.splitlines() if not line.startswith("level=")))
    return done.stdout


def render(case: str, *settings: str, version: str = NEWEST, release: str = "ctr") -> list[Document]:
    """The documents that a file of values gives. settings: `a.b=JSON`. Raises ChartRefused."""
    return [one for one in yaml.safe_load_all(_rendered(case, settings, version, release)) if one]


def text_of(case: str, *settings: str) -> str:
    """The same, as it is applied. Raises ChartRefused."""
    return _rendered(case, settings, NEWEST, "ctr")


def of_kind(documents: Iterable[Document], kind: str) -> dict[str, Document]:
    """By name."""
    return {one["metadata"]["name"]: one for one in documents if one["kind"] == kind}


def pods_of(documents: Iterable[Document]) -> dict[str, Document]:
    """The templates of pods, by the name of their Deployment."""
    return {name: one["spec"]["template"] for name, one in of_kind(documents, "Deployment").items()}


def container_of(pod: Document) -> Document:
    (container,) = pod["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def validate(document: Document, version: str) -> None:
    """By the schema of that version of Kubernetes, in which no unknown field passes."""
    if str(PACKAGES) not in sys.path:
        sys.path.append(str(PACKAGES))
    import kubernetes_validate  # type: ignore[import-not-found]  # it is in build/helm

    kubernetes_validate.validate(document, version, strict=True)


def leaves(values: Document, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each key whose value is no section with keys."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def schema() -> Document:
    read = json.loads((CHART / "values.schema.json").read_text())
    assert isinstance(read, dict)
    return read


def write_files(documents: Iterable[Document], name: str, directory: Path) -> Path:
    """Those of a ConfigMap, as a pod has them."""
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in of_kind(documents, "ConfigMap")[name]["data"].items():
        (directory / file).write_text(text)
    return directory
