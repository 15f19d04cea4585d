"""The run itself, in namespaces of its own: a cluster, a deployment, callers, and one event after the other."""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.cluster.callers import Callers, callers
from tests.support.cluster.cluster import Cluster, running_cluster
from tests.support.cluster.events import EVENTS, SECRET, Deployment, archive_of, write_secret
from tests.support.cluster.release import NAME, Release, Tools
from tests.support.cluster.report import Row, faults, table
from tests.support.cluster.shared_files import MOUNTED, SharedFiles

SHARDS = 2
INSTALLED = "helm install"
UNDISTURBED_SECONDS = 5.0
AFTERWARDS_SECONDS = 3.0  # that count, too: a packet comes, and whoever lost a connection has another one


def values_of(files: SharedFiles, image: str) -> dict[str, Any]:
    """With all that the chart can do for these: TLS on both sides, epochs, packets."""
    repository, _, tag = image.rpartition(":")
    little = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
        "checkpoint": f"{MOUNTED}/checkpoint",
        "packets": f"{MOUNTED}/packets",
        "epochs": True,
        "volumes": [{"name": "data", "mountPath": MOUNTED, "source": {"hostPath": {"path": str(files.mounted)}}}],
        "shards": {"count": SHARDS, "replicas": 2, "resources": little},
        "middleware": {"replicas": 2, "resources": little},
        "models": {
            "store": f"{MOUNTED}/store",
            "archives": [archive_of(0)],
            "headless": True,
            "replicas": 2,
            "properties": {"default_workers_per_model": 1},
            "resources": little,
        },
        "security": {"tls": {"secret": SECRET, "mutual": True}},
    }


class Run:
    """Adds what happens to the rows of the table."""

    def __init__(self, rows: dict[str, Row], deployment: Deployment, lookups: Callers, predictions: Callers) -> None:
        self._rows, self._deployment = rows, deployment
        self._lookups, self._predictions = lookups, predictions

    def record(self, event: str, seconds: float) -> None:
        row = self._rows.setdefault(event, Row(event))
        row.add(seconds, self._lookups.take(), self._predictions.take())
        print(f"{len(row.seconds)} {row}", flush=True)
        if problems := faults([row]):
            print(problems, flush=True)

    def round(self, number: int, names: list[str]) -> None:
        """Each event once."""
        for name in names:
            self._lookups.take()
            self._predictions.take()
            began = time.monotonic()
            EVENTS[name](self._deployment, number)
            seconds = time.monotonic() - began
            time.sleep(AFTERWARDS_SECONDS)
            self.record(name, seconds)
            self._deployment.cluster.bring_back()
            self._deployment.release.wait_until_ready()


def run(cluster: Cluster, options: argparse.Namespace, rows: dict[str, Row]) -> None:
    files = SharedFiles(options.directory / "shared", SHARDS)
    release = Release(
        Tools(options.helm, options.kubectl), cluster.kubeconfig, values_of(files, options.image), files.embedding_config
    )
    # A process of its own imports torch.
    archives = [sys.executable, "-m", "tests.support.cluster.archives", str(files.store), str(options.events + 1)]
    subprocess.run(archives, check=True, start_new_session=True)
    write_secret(release, files)
    began = time.monotonic()
    release.install()
    release.wait_until_ready()
    print(f"{INSTALLED}: ready after {time.monotonic() - began:.1f} s", flush=True)
    deployment = Deployment(cluster, release, files, random.Random(options.seed))
    host, shown = "default.svc.cluster.local", ["--global-config", str(files.global_config), "--packets", str(files.packets)]
    with (
        callers("load", [f"{NAME}-middleware.{host}:8887", *shown], options.directory / "load.log") as lookups,
        callers("dense_load", [f"{NAME}-models.{host}:7070", *shown], options.directory / "dense_load.log") as predictions,
    ):
        happening = Run(rows, deployment, lookups, predictions)
        time.sleep(UNDISTURBED_SECONDS)
        happening.record("nothing", UNDISTURBED_SECONDS)
        for number in range(1, options.events + 1):
            happening.round(number, options.only or list(EVENTS))
    release.uninstall()


def _path(text: str) -> Path:
    """Absolute: programs with other working directories read it."""
    return Path(text).resolve()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubernetes", type=_path, required=True)
    parser.add_argument("--helm", type=_path, required=True)
    parser.add_argument("--kubectl", type=_path, required=True)
    parser.add_argument("--image", required=True, help="its name")
    parser.add_argument("--archive", type=_path, action="append", required=True, help="of an image, for all machines")
    parser.add_argument("--directory", type=_path, required=True, help="is emptied")
    parser.add_argument("--templates", type=_path, required=True, help="keeps the images between runs")
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--only", action="append", choices=list(EVENTS))
    options = parser.parse_args()
    # The first process of a namespace ends by no signal that it does not handle.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit("ended by a signal"))
    rows: dict[str, Row] = {}
    try:
        with running_cluster(options.kubernetes, options.directory, options.archive, options.templates) as cluster:
            run(cluster, options, rows)
    finally:
        print(table(list(rows.values())), flush=True)
    if problems := faults(list(rows.values())):
        sys.exit(problems)


if __name__ == "__main__":
    main()
