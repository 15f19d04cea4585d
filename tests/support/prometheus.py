"""A real Prometheus for tests, which asks often and has no patience, so that alerts fire within seconds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typing_extensions import Self

from tests.support.servers import PATIENCE, free_port, wait_until

INTERVAL = "200ms"


class Prometheus:
    """Watches targets by these rules, without waiting before an alert fires. With `with`, it is killed at the end."""

    def __init__(self, directory: Path, targets: Mapping[str, Sequence[str]], rules: Path) -> None:
        """targets: addresses by their jobs. Skips the test where it is not installed."""
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("there is no prometheus: apt-get install prometheus")
        directory.mkdir(parents=True, exist_ok=True)
        text = re.sub(r"\n +for: .+", "", rules.read_text())
        (directory / "rules.yml").write_text(text.replace("    rules:\n", f"    interval: {INTERVAL}\n    rules:\n"))
        jobs = [{"job_name": job, "static_configs": [{"targets": [*addresses]}]} for job, addresses in targets.items()]
        config = {
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": ["rules.yml"],
            "scrape_configs": jobs,
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        self._url = f"http://{address}/"
        self._log = directory / "log"
        command = [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
        wait_until(self._is_ready, "Prometheus is ready")

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"{self._url}-/ready", timeout=PATIENCE):
                return True
        except OSError:
            return False

    def _ask(self, path: str, **parameters: str) -> Any:
        """The data of its answer. Raises AssertionError with its words."""
        try:
            url = f"{self._url}api/v1/{path}?{urllib.parse.urlencode(parameters)}"
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expr: str) -> list[Any]:
        """The series of the expression now. Raises AssertionError if it is none."""
        return list(self._ask("query", query=expr)["result"])

    def names(self) -> set[str]:
        """Of all metrics that it has."""
        return set(self._ask("label/__name__/values"))

    def firing(self) -> set[str]:
        """The names of alerts."""
        return {alert["labels"]["alertname"] for alert in self._ask("alerts")["alerts"] if alert["state"] == "firing"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
