"""What `make test` leaves out is said at the end, and what is named is run."""

from __future__ import annotations

import subprocess
import sys

from tests.support.places import ROOT


def test_files_of_whole_ways_are_left_out_unless_they_are_named() -> None:
    named = ("tests/process/grpc", "tests/process/storage/test_hdfs.py")
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", "--without-whole-ways"]
    run = subprocess.run([*command, *named], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {line.partition("::")[0] for line in run.stdout.splitlines() if "::" in line}
    assert "tests/process/grpc/test_grpc_health.py" in files
    assert "tests/process/storage/test_hdfs.py" in files
    assert "tests/process/grpc/test_grpc_interoperation.py" not in files
    assert "left out, files of whole ways, which `make test-all` runs: 1" in run.stdout
    assert "\n  tests/process/grpc: test_grpc_interoperation\n" in run.stdout
