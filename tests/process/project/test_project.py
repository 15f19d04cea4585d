"""What holds for the project as a whole: its version, who may import whom, the size of its files."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import persia
from tests.support.places import ROOT

LEAVES = ("client", "embedding_server", "handlers", "middleware")
PACKAGES = ("persia", *LEAVES)
# It stands above the leaves: whoever exports a model needs their writers, and nothing of ours needs the export of a model.
ROOF = "persia.export"
# What may load gRPC or torch. All the rest of persia needs only its required dependencies, persia.batch and persia.prelude
# above all: a client encodes its batches with them.
HEAVY = ("ctx", "dense", "deployment", "export", "routing", "rpc", "serving", "tensors", "text", "torchserve", *LEAVES)
WITH_TORCH = ("dense", "export", "handlers", "tensors", "text", "torchserve.archive")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    """Its name when installed: the leaves live inside persia."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "persia" else ("persia", *parts))


def imports_of(source: str, package: str) -> Iterator[str]:
    """Every module that the source names in an import, wherever it stands, by its name when installed."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (f"persia.{name}" if name.split(".")[0] in LEAVES else name for name in names)


def imported_by(path: Path) -> set[str]:
    return set(imports_of(path.read_text(), module_of(path.parent / "__init__.py")))


def leaf_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "persia" and parts[1] in LEAVES else None


def is_roof(module: str) -> bool:
    return f"{module}.".startswith(f"{ROOF}.")


def is_light(module: str) -> bool:
    return not module.endswith(("_pb2", "_pb2_grpc")) and module.split(".")[1:2] not in [[name] for name in HEAVY]


def test_the_version_is_the_installed_one_and_in_the_changelog() -> None:
    assert version("persia-serve") == persia.__version__
    assert f"\n## [{persia.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_imports_are_understood() -> None:
    # The tests below are worth what imports_of finds, so it is tried on every form of import.
    forms = [
        "import client.infer",
        "from handlers import x",
        "from . import y",
        "from ..batch import z",
        "if x: import torch.nn",
    ]
    assert set(imports_of("\n".join(forms), "persia.middleware")) == {
        "persia.client.infer",
        "persia.handlers",
        "persia.handlers.x",
        "persia.middleware",
        "persia.middleware.y",
        "persia.batch",
        "persia.batch.z",
        "torch.nn",
    }


def test_leaves_are_imported_by_the_names_that_they_have_when_installed() -> None:
    """A file that is imported as `client.predict` and as `persia.client.predict` is two modules with two sets of classes."""
    outside = [path for folder in ("tests", "benchmarks", "examples", ".ci") for path in (ROOT / folder).rglob("*.py")]
    plain = re.compile(rf"\b(?:from|import) (?:{'|'.join(LEAVES)})\b")
    importing = {str(path.relative_to(ROOT)) for path in (*SOURCES, *outside) if plain.search(path.read_text())}
    assert importing == {str(Path(__file__).relative_to(ROOT))}  # the forms above


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_import_leads_to_another_leaf(path: Path) -> None:
    own = leaf_of(module_of(path))
    assert is_roof(module_of(path)) or {leaf_of(name) for name in imported_by(path)} <= {None, own}


@pytest.mark.parametrize("path", [path for path in SOURCES if not is_roof(module_of(path))], ids=module_of)
def test_no_import_leads_to_the_roof(path: Path) -> None:
    assert not any(is_roof(name) for name in imported_by(path))


def test_only_what_has_to_do_with_models_imports_torch() -> None:
    importing = {path for path in SOURCES if any(name.split(".")[0] == "torch" for name in imported_by(path))}
    rooms = tuple(f"persia.{name}." for name in WITH_TORCH)
    allowed = {path for path in SOURCES if f"{module_of(path)}.".startswith(rooms)}
    assert importing <= allowed


@pytest.mark.parametrize("name", [name for name in map(module_of, SOURCES) if is_light(name)])
def test_light_modules_load_neither_grpc_nor_torch(name: str) -> None:
    code = f"import {name}, sys; print(*sys.modules, sep='\\n')"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert name in modules
    assert {"grpc", "torch"}.isdisjoint(modules)


def test_leaves_are_found_by_their_names_in_few_places() -> None:
    """What persia may not import, it may ask for by name: commands, what servers would say, and handlers to be packed."""
    named = re.compile(rf'"persia\.(?:{"|".join(LEAVES)})\b')
    asking = {str(path.relative_to(ROOT)) for path in (ROOT / "persia").rglob("*.py") if named.search(path.read_text())}
    assert asking == {"persia/launcher.py", "persia/checking/leaves.py", "persia/torchserve/archive/handler_files.py"}


def test_reading_a_checkpoint_waits_for_no_import_that_it_does_not_need() -> None:
    code = "import persia.launcher, persia.embedding_server.__main__, sys; print(*sys.modules, sep='\\n')"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert "persia.embedding_server.checkpoint" in modules
    assert {"numpy", "prometheus_client", "watchdog", "persia.embedding_server.writer", "persia.routing"}.isdisjoint(modules)


def test_without_the_native_core_the_import_says_how_to_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "persia", tmp_path / "persia", ignore=shutil.ignore_patterns("*.so"))
    # -S: without the hook of the editable install, which would find the core.
    run = subprocess.run([sys.executable, "-S", "-c", "import persia.batch"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    assert re.search(r"^ImportError: .*`make build`.*persia\._core", run.stderr, re.MULTILINE)


def test_every_requirement_has_a_pinned_version() -> None:
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    required = re.findall(r'"([\w.-]+)>=[\d.]+"', (ROOT / "pyproject.toml").read_text())
    assert len(required) > 10
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in required} <= pinned


SUFFIXES = {".py", ".pyi", ".cpp", ".hpp"}


def test_no_file_is_longer_than_300_lines() -> None:
    files = [path for folder in (*PACKAGES, "tests", "benchmarks", "native", ".ci") for path in (ROOT / folder).rglob("*.*")]
    files = [path for path in files if path.suffix in SUFFIXES and not path.stem.endswith(("_pb2", "_pb2_grpc"))]
    assert {path.suffix for path in files} == SUFFIXES
    assert {path: lines for path in files if (lines := path.read_text().count("\n")) > 300} == {}


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_process_is_forked_with_handlers_of_grpc(path: Path) -> None:
    """With a preexec_fn, subprocess forks as os.fork does, and gRPC's handlers for that were seen to wait for ever."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    assert not [call.lineno for call in calls if any(keyword.arg == "preexec_fn" for keyword in call.keywords)]
