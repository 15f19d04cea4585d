"""A model server with the arguments, the variables and the files that the chart gives it, and asked by the chart's probes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.charts import container_of, needs_helm, pods_of, render, write_files
from tests.support.model_servers import ask, make_mar
from tests.support.servers import PATIENCE, free_port
from tests.support.stacks import LAUNCHER, Logged

KEY = "3yTAY1Ch9Wq7"


@pytest.mark.parametrize("keys", [False, True])
def test_it_serves_as_the_chart_starts_it(keys: bool, tmp_path: Path) -> None:
    needs_helm()
    make_mar(tmp_path / "archives", "probe")
    settings = ['models.store="/data/archives"', 'models.archives=["probe-1.0.mar"]']
    settings += ['models.keysSecret="model-keys"'] if keys else []
    documents = render("plain", *settings, version="1.20")
    directory = write_files(documents, "ctr-models", tmp_path / "config")
    (tmp_path / "keys").mkdir()
    key_file = tmp_path / "keys" / "key_file.json"
    key_file.touch(mode=0o600)
    key_file.write_text(json.dumps({"inference": {"key": KEY}, "management": {"key": "h6sRk1tVw2Zp"}}))
    ports = {port: str(free_port()) for port in ("7070", "7071", "8080", "8081", "8082")}

    def here(text: str) -> str:
        text = text.replace("/etc/persia", str(tmp_path)).replace("/data/archives", str(tmp_path / "archives"))
        return re.sub(r"\b(70(?:70|71)|808[0-2])\b", lambda port: ports[port[0]], text)

    properties = directory / "config.properties"
    properties.write_text(here(properties.read_text()))
    pod = container_of(pods_of(documents)["ctr-models"])
    variables = {one["name"]: here(one["value"]) for one in pod["env"]} | {"HOME": str(tmp_path)}
    command = ["env", *(f"{name}={value}" for name, value in variables.items()), str(LAUNCHER), *map(here, pod["args"])]
    with Logged(command, tmp_path / "log") as server:
        server.said("ready: inference on ")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            _, *words = pod[probe]["exec"]["command"]
            done = subprocess.run(
                [str(LAUNCHER), *map(here, words)], capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            assert done.returncode == 0, done.stderr
        url = f"http://127.0.0.1:{ports['8080']}/predictions/probe"
        shown = ask(url, b"{}", headers={"Authorization": f"Bearer {KEY}"})
        assert shown.status == 200, shown.body
        assert ask(url, b"{}").status == (400 if keys else 200)
