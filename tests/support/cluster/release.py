"""A deployment as its users install and change it: with helm and kubectl, by the chart in deploy/helm."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.cluster import api

CHART = Path("deploy/helm/persia-serve")
NAME = "ps"
MINUTES = 10  # for whatever rolls, on a machine that has much else to do


@dataclass(frozen=True)
class Tools:
    """Where the programs are."""

    helm: Path
    kubectl: Path


class Release:
    """One release of the chart. What its values are is changed by upgrade(), and kept for the next one."""

    def __init__(self, tools: Tools, kubeconfig: Path, values: Mapping[str, Any], embedding_config: Path) -> None:
        self._tools, self._values = tools, dict(values)
        self._file, self._embedding_config = kubeconfig.with_name("values.json"), embedding_config
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}

    def install(self) -> None:
        self._helm("install")

    def upgrade(self, values: Mapping[str, Any]) -> None:
        """Returns when all of it is ready. values: those that change, of each section of the chart's."""
        self._values = merged(self._values, values)
        self._helm("upgrade")

    def try_upgrade(self, values: Mapping[str, Any], seconds: int) -> str:
        """What helm says of an upgrade that does not get ready. The values stay as they were."""
        before = self._values
        self._values = merged(self._values, values)
        try:
            self._helm("upgrade", seconds)
        except RefusedError as error:
            return str(error)
        finally:
            self._values = before
        raise AssertionError(f"expected that helm refuses an upgrade with {json.dumps(values)}")

    def roll_back(self) -> None:
        self._call(self._tools.helm, "rollback", NAME, "--wait", "--timeout", f"{MINUTES}m")

    def uninstall(self) -> None:
        self._call(self._tools.helm, "uninstall", NAME, "--wait", "--timeout", f"{MINUTES}m")

    def kubectl(self, *arguments: str) -> str:
        return self._call(self._tools.kubectl, *arguments)

    def apply(self, manifest: str) -> None:
        self._call(self._tools.kubectl, "apply", "--filename=-", given=manifest)

    def wait_until_ready(self) -> None:
        api.wait_for(is_ready, "all pods of the release are ready", 60.0 * MINUTES)

    def _helm(self, verb: str, seconds: int = 60 * MINUTES) -> None:
        self._file.write_text(json.dumps(self._values))
        files = ["--values", str(self._file), "--set-file", f"embeddingConfig={self._embedding_config}"]
        self._call(self._tools.helm, verb, NAME, str(CHART), *files, "--wait", "--timeout", f"{seconds}s")

    def _call(self, program: Path, *arguments: str, given: str = "") -> str:
        done = subprocess.run(
            [str(program), *arguments],
            env=self._environment,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise RefusedError(f"{program.name} {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        return done.stdout


class RefusedError(AssertionError):
    """A command of helm or kubectl did not do what it was told."""


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """As helm puts several files of values together."""
    result = dict(values)
    for key, change in changes.items():
        before = result.get(key)
        result[key] = merged(before, change) if isinstance(before, Mapping) and isinstance(change, Mapping) else change
    return result


def deployments() -> list[api.Item]:
    return api.items("/apis/apps/v1/namespaces/default/deployments")


def is_ready() -> bool:
    """Whether all pods are there as the newest values want them, and none that is left of earlier ones."""
    found = deployments()
    return bool(found) and all(is_rolled_out(one["metadata"], one["spec"], one["status"]) for one in found)


def is_rolled_out(metadata: api.Item, spec: api.Item, status: api.Item) -> bool:
    """By what the API server says of one deployment."""
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    return status.get("observedGeneration", 0) >= metadata["generation"] and counts == [spec["replicas"]] * len(counts)
