"""TorchServe as the chart starts it, as nobody and where nothing but /tmp is writable, and asked by the chart's probes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.charts import container_of, needs_helm, pods_of, render, write_files
from tests.support.model_servers import ask, make_mar
from tests.support.read_only import MOUNTED, in_read_only, needs_namespaces
from tests.support.servers import PATIENCE, free_port
from tests.support.stacks import LAUNCHER, Logged

pytestmark = pytest.mark.whole_way  # a TorchServe, whose worker imports torch


def test_it_serves_where_only_tmp_is_writable(tmp_path: Path) -> None:
    needs_helm()
    needs_namespaces()
    needs_namespaces()
    make_mar(tmp_path / "archives", "probe")
    documents = render("torchserve", 'models.archives=["probe-1.0.mar"]', "models.properties.job_queue_size=7", version="1.20")
    directory = write_files(documents, "ctr-models", tmp_path / "config")
    pod = container_of(pods_of(documents)["ctr-models"])
    ports = {port: str(free_port()) for port in ("7070", "7072", "8080")}
    places = {"/etc/persia/config": f"{MOUNTED}/config", "/data/archives": f"{MOUNTED}/archives"}

    def here(text: str) -> str:
        for place, mounted in places.items():
            text = text.replace(place, mounted)
        return ports.get(text, text)

    for file in directory.iterdir():
        file.write_text(here(file.read_text()))
    variables = {one["name"]: here(one["value"]) for one in pod["env"]} | {"PATH": f"{LAUNCHER.parent}:/usr/bin:/bin"}
    # TorchServe's own port for management is the same for all that run on this machine.
    arguments = [*map(here, pod["args"]), "--management-port", "0"]
    mounted = {"config": directory, "archives": tmp_path / "archives"}
    command = in_read_only([str(LAUNCHER), *arguments], variables, tmp_path / "tmp", mounted)
    with Logged(command, tmp_path / "log") as server:
        server.said("ready")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            words = [word.replace("7072", ports["7072"]) for word in pod[probe]["exec"]["command"][1:]]
            done = subprocess.run([str(LAUNCHER), *words], capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert done.returncode == 0, done.stderr
        shown = ask(f"http://127.0.0.1:{ports['8080']}/predictions/probe", b"{}")
        assert shown.status == 200, shown.body
        state = tmp_path / "tmp" / "torchserve"
        assert "job_queue_size=7" in (state / "config.properties").read_text().replace(" ", "")
        logged = {path.name: path.read_text() for path in (state / "logs").iterdir()} | {"log": server.log.read_text()}
        assert not {name: text for name, text in logged.items() if re.search("Read-only file system|Permission denied", text)}
