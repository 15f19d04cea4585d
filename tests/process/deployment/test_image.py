"""The image of deploy/Containerfile, run as the chart runs it: `make container-test` builds it, and says which one it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from persia.v1 import embedding_pb2 as pb
from persia.v1 import embedding_pb2_grpc as pb_grpc
from persia.writers import write_checkpoint
from tests.support.charts import PACKAGES, container_of, needs_helm, pods_of, render, write_files
from tests.support.servers import PATIENCE, free_port, wait_until

IMAGE = os.environ.get("PERSIA_IMAGE")
pytestmark = pytest.mark.skipif(not IMAGE, reason="needs an image, which make container-test builds")
IDS = np.arange(10, dtype=np.uint64) + np.uint64(1 << 56)
# runc, because crun wants a cgroup file system of its own; limits below those of whoever runs this.
PODMAN = ("podman", "--runtime", "runc")
LIMITS = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--memory", "1g")


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PODMAN, *arguments], capture_output=True, text=True, check=check, timeout=PATIENCE)


class Container:
    """An embedding server with the arguments, variables and files that the chart gives to the pod of a shard."""

    def __init__(self, directory: Path) -> None:
        documents = render("plain", "shards.count=1", "settings.embedding_worker_config.hedge_after_ms=60")
        (configs := write_files(documents, "ctr-shards", directory / "config")).chmod(0o755)
        data = directory / "data"
        write_checkpoint(data / "checkpoint", [(IDS, np.ones((10, 4), np.float32))], shards=1)
        (data / "packets").mkdir()
        subprocess.run(["chown", "-R", "65532:65532", str(data)], check=True)
        pod = container_of(pods_of(documents)["ctr-shard-0"])
        self.port, metrics_port = free_port(), free_port()
        ports = {"8888": str(self.port), "9090": str(metrics_port)}
        variables = [word for one in pod["env"] for word in ("--env", f"{one['name']}={one['value']}")]
        mounts = ["--volume", f"{configs}:/etc/persia/config:ro", "--volume", f"{data}:/data", "--tmpfs", "/tmp"]
        limits = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", *LIMITS]
        command = ["run", "--detach", "--network", "host", "--workdir", pod["workingDir"], *limits, *variables, *mounts]
        self.id = podman(*command, str(IMAGE), *(ports.get(word, word) for word in pod["args"])).stdout.strip()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return podman("exec", self.id, *command, check=False)

    def log(self) -> str:
        done = podman("logs", self.id)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    needs_helm()
    directory = tmp_path_factory.mktemp("container")
    started = Container(directory)
    try:
        yield started
    finally:
        podman("rm", "--force", "--time", "0", started.id)


def test_it_serves_and_answers(container: Container) -> None:
    wait_until(lambda: "serving version" in container.log(), "it serves")
    health = container.run("persia-launcher", "health", f"127.0.0.1:{container.port}")
    assert (health.returncode, "SERVING" in health.stdout) == (0, True), health.stderr
    with grpc.insecure_channel(f"127.0.0.1:{container.port}") as channel:
        parts = np.array([0, 0, 4, 1, len(IDS), 0], np.uint32).tobytes()
        answer = pb_grpc.EmbeddingServerStub(channel).Lookup(
            pb.LookupRequest(parts=parts, signs=IDS.tobytes()), timeout=PATIENCE
        )
    assert np.frombuffer(answer.numbers, np.float32).tolist() == [1.0] * 40
    assert json.loads(container.log().splitlines()[0])["level"]  # as the chart wants the log


def test_it_is_nobody_and_can_write_nothing_of_its_own(container: Container) -> None:
    assert container.run("id", "-u").stdout.strip() == "65532"
    for place in ("/opt/persia/new", "/etc/new", "/new"):
        assert container.run("touch", place).returncode != 0
    assert container.run("touch", "/tmp/new").returncode == 0
    for program in ("cc", "gcc", "g++", "make", "pip", "pip3"):
        assert container.run("sh", "-c", f"command -v {program}").stdout == ""


def test_its_bill_of_materials_is_whole(container: Container) -> None:
    text = container.run("cat", "/opt/persia/sbom.cdx.json").stdout
    sys.path.append(str(PACKAGES))
    from cyclonedx.schema import SchemaVersion  # type: ignore[import-not-found]  # it is in build/helm
    from cyclonedx.validation.json import JsonStrictValidator  # type: ignore[import-not-found]

    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    listed = {one["purl"] for one in json.loads(text)["components"]}
    asked = "from importlib.metadata import distributions as d; print(*(f'{one.name}@{one.version}' for one in d()))"
    installed = container.run("/opt/persia/bin/python", "-c", asked).stdout.split()
    assert len(installed) > 10
    for package in installed:
        name, _, version = package.partition("@")
        assert f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}@{version}" in listed
    debian = container.run("dpkg-query", "--show", "--showformat=${Package}\n").stdout.split()
    assert len(debian) > 50 and len([one for one in listed if one.startswith("pkg:deb/debian/")]) >= len(debian)


def test_it_drains_when_it_is_stopped(container: Container) -> None:
    podman("stop", "--time", "20", container.id)
    assert podman("inspect", "--format", "{{.State.ExitCode}}", container.id).stdout.strip() == "0"
