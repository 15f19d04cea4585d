"""What a process loads when it imports a module of ours, and what it says without the native core."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.imports import LEAVES, SOURCES, module_of
from tests.support.places import ROOT

# What may load gRPC or torch. All the rest of persia needs only its required dependencies, persia.batch and persia.prelude
# above all: a client encodes its batches with them.
HEAVY = (
    "ctx",
    "dense",
    "deployment",
    "export",
    "monitoring",
    "routing",
    "rpc",
    "replay",
    "serving",
    "shared_weights",
    "tensors",
    "text",
    "torchrec",
    "torchserve",
    *LEAVES,
)


def is_light(module: str) -> bool:
    return not module.endswith(("_pb2", "_pb2_grpc")) and module.split(".")[1:2] not in [[name] for name in HEAVY]


# All in one process: where all of them together load neither, none of them does.
IMPORT_ALL = """
import sys
for name in sys.argv[1:]:
    __import__(name)
    heavy = {"grpc", "torch"} & sys.modules.keys()
    assert not heavy, f"{name} loads {heavy}"
"""


def test_light_modules_load_neither_grpc_nor_torch() -> None:
    names = [name for name in map(module_of, SOURCES) if is_light(name)]
    assert len(names) > 50
    run = subprocess.run([sys.executable, "-c", IMPORT_ALL, *names], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_reading_a_checkpoint_waits_for_no_import_that_it_does_not_need() -> None:
    code = "import persia.launcher, persia.embedding_server.__main__, sys; print(*sys.modules, sep='\\n')"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert "persia.formats.checkpoint" in modules
    assert {"numpy", "prometheus_client", "watchdog", "persia.writers", "persia.routing"}.isdisjoint(modules)


def test_without_the_native_core_the_import_says_how_to_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "persia", tmp_path / "persia", ignore=shutil.ignore_patterns("*.so"))
    # -S: without the hook of the editable install, which would find the core.
    run = subprocess.run([sys.executable, "-S", "-c", "import persia.batch"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    assert re.search(r"^ImportError: .*`make build`.*persia\._core", run.stderr, re.MULTILINE)
