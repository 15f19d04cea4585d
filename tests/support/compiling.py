"""Models that AOTInductor compiles for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.places import ROOT


def compile_models(directory: Path, code: str) -> None:
    """Runs code that compiles models, in a process of its own, as torch warns of itself meanwhile.

    The compiler is asked for the least: no look for vector instructions, no headers that are compiled beforehand, and no
    speed. Each of them takes longer than the model.
    """
    environment = {"PYTHONPATH": str(ROOT), "TORCHINDUCTOR_CACHE_DIR": str(directory / "cache")}
    environment |= {"TORCHINDUCTOR_VEC_ISA_OK": "0", "AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL": "O0"}
    quick = "import torch, torch._inductor.config\ntorch._inductor.config.aot_inductor.precompile_headers = False\n"
    command = [sys.executable, "-W", "ignore", "-c", quick + code]
    subprocess.run(command, cwd=directory, check=True, env={**os.environ, **environment})
