"""`persia-launcher plan` as a process: where its lines and its exit code go, and that it starts without torch or a server."""

from __future__ import annotations

import json
import subprocess
import sys

ARGUMENTS = ["--rows", "100M", "--dim", "16", "--qps", "500", "--batch", "128", "--json"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "persia.launcher", "plan", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_plan_is_printed_as_json_and_imports_no_more_than_it_needs() -> None:
    done = run(*ARGUMENTS, "--machines", "4")
    assert done.returncode == 0
    assert json.loads(done.stdout)["plan"]["layout"]["replicas"] >= 2
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "persia.planning.planner" in imported and not imported & {"torch", "grpc", "persia.embedding_server.service"}


def test_what_is_impossible_ends_with_1_and_a_wrong_argument_with_2() -> None:
    assert run(*ARGUMENTS, "--machines", "1").returncode == 1
    done = run(*ARGUMENTS, "--machines", "none")
    assert done.returncode == 2 and "--machines" in done.stderr and done.stdout == ""
