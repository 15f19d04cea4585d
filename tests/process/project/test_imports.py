"""What a process loads that only looks up: servers and tools of grpcio are not for it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["persia.ctx", "persia.routing.bypass", "persia.checking.command"])
def test_no_grpcio_where_the_native_core_speaks_grpc(module: str) -> None:
    """It would start threads, and take the most of what an import takes."""
    code = f"import sys, {module}; print('grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
