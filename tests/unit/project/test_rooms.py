"""Every file in its room: who may import whom, as docs/architecture.md says, and how large functions and classes may be."""

from __future__ import annotations

import ast
import re
from importlib.metadata import version
from pathlib import Path

import pytest

import persia
from tests.support.imports import LEAVES, PACKAGES, SOURCES, imported_by, imports_of, module_of, nodes_of
from tests.support.places import ROOT

WITH_TORCH = ("dense", "export", "handlers", "shared_weights", "tensors", "text", "torchrec", "torchserve.archive")
FOLDERS = (ROOT / "docs" / "architecture.md").read_text().partition("## Folders\n")[2].partition("\n## ")[0]
ROWS = [
    (re.findall(r"`([^`]+)`", names), re.findall(r"`([^`]+)`", arrows))
    for names, arrows in re.findall(r"^\| (`[^|]+`) \|[^|]+\| ([^|]*)\|$", FOLDERS, re.MULTILINE)
]
# Folders of one row are one room, which has the name of the first.
ROOMS = {name: names[0] for names, _ in ROWS for name in names}
# The nouns may be imported everywhere, and so may what all of the native core stands on.
NOUNS = {"persia", "native/base"}
ARROWS = {names[0]: {ROOMS[arrow] for arrow in arrows} for names, arrows in ROWS}
NATIVE_FILES = sorted(path for path in (ROOT / "native").rglob("*.*") if path.suffix in {".cpp", ".hpp"})
MOST_LINES = 60
MOST_ATTRIBUTES = 12


def leaf_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "persia" and parts[1] in LEAVES else None


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
    assert set(imports_of(ast.walk(ast.parse("\n".join(forms))), "persia.middleware")) == {
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
    assert {leaf_of(name) for name in imported_by(path)} <= {None, own}


def test_only_what_has_to_do_with_models_imports_torch() -> None:
    importing = {path for path in SOURCES if any(name.split(".")[0] == "torch" for name in imported_by(path))}
    rooms = tuple(f"persia.{name}." for name in WITH_TORCH)
    allowed = {path for path in SOURCES if f"{module_of(path)}.".startswith(rooms)}
    assert importing <= allowed


def test_leaves_are_found_by_their_names_in_few_places() -> None:
    """What persia may not import, it may ask for by name: commands, what servers would say, and handlers to be packed."""
    named = re.compile(rf'"persia\.(?:{"|".join(LEAVES)})\b')
    asking = {str(path.relative_to(ROOT)) for path in (ROOT / "persia").rglob("*.py") if named.search(path.read_text())}
    assert asking == {"persia/launcher.py", "persia/checking/leaves.py", "persia/torchserve/archive/handler_files.py"}


def room_of(module: str) -> str | None:
    """The folder of the map that a module is in: the innermost one. None: it is not ours, or generated."""
    parts = module.split(".")
    if parts[0] != "persia" or module.startswith(("persia._core", "persia.v1")):
        return None
    parts = parts[1:] if parts[1:2] and parts[1] in LEAVES else parts
    paths = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    rooms: list[str] = [ROOMS[name] for path in paths for name in (f"{path}.py", path) if name in ROOMS]
    return rooms[0]


def test_the_map_has_every_folder() -> None:
    folders = {path.parent.relative_to(ROOT).parts[:2] for path in SOURCES}
    assert {"/".join(parts[: 1 if parts[0] in LEAVES else 2]) for parts in folders} - {"persia/v1"} <= set(ROOMS)


def test_arrows_are_those_of_the_map() -> None:
    """Both ways: no import that the map does not have, and no arrow that no import has."""
    found: dict[str, set[str]] = {room: set() for room in ARROWS if not room.startswith("native/")}
    modules = {module_of(path) for path in SOURCES}
    for path in SOURCES:
        if (room := room_of(module_of(path))) is not None:
            named = (name if name in modules else name.rpartition(".")[0] for name in imported_by(path))
            found[room] |= {other for name in named if name in modules and (other := room_of(name)) not in (room, None)}
    found = {room: arrows - NOUNS for room, arrows in found.items()}
    assert found == {room: ARROWS[room] for room in found}


def test_arrows_of_native_folders_are_those_of_the_map() -> None:
    """As above, by what their files include; tests and fuzzers may include everything."""
    found: dict[str, set[str]] = {}
    for path in NATIVE_FILES:
        folder = path.relative_to(ROOT / "native").parts[0]
        if folder in ("tests", "fuzz"):
            continue
        room = f"native/{folder}"
        included = re.findall(r'^#include "(\w+)/', path.read_text(), re.MULTILINE)
        found.setdefault(room, set()).update({f"native/{name}" for name in included} - {room, *NOUNS})
    assert len(found) > 10
    assert found == {room: arrows for room, arrows in ARROWS.items() if room.startswith("native/")}


def test_no_arrow_leads_back() -> None:
    above: dict[str, set[str]] = {room: set(arrows) for room, arrows in ARROWS.items()}
    while free := [room for room, arrows in above.items() if not arrows & above.keys()]:
        for room in free:
            del above[room]
    assert above == {}


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """With its parameters and its docstring, without its decorators."""
    return (function.end_lineno or 0) - function.lineno + 1


def attributes_of(kind: ast.ClassDef) -> set[str]:
    """What its methods set of `self`."""
    return {
        node.attr
        for node in ast.walk(kind)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }


ALL_PYTHON = sorted(
    path for folder in (*PACKAGES, "tests", "benchmarks", "examples", ".ci") for path in (ROOT / folder).rglob("*.py")
)


def test_no_function_is_longer_than_60_lines() -> None:
    functions = {
        f"{path.relative_to(ROOT)}: {node.name}": lines_of(node)
        for path in ALL_PYTHON
        for node in nodes_of(path)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert len(functions) > 1000
    assert {name: lines for name, lines in functions.items() if lines > MOST_LINES} == {}


def test_no_class_has_more_than_12_attributes() -> None:
    kinds = {
        f"{path.relative_to(ROOT)}: {node.name}": attributes_of(node)
        for path in SOURCES
        for node in nodes_of(path)
        if isinstance(node, ast.ClassDef)
    }
    assert {name: sorted(found) for name, found in kinds.items() if len(found) > MOST_ATTRIBUTES} == {}


def test_no_native_file_is_longer_than_300_lines() -> None:
    """Python has limits for functions and classes instead, which nothing here counts in C++."""
    assert {path: lines for path in NATIVE_FILES if (lines := path.read_text().count("\n")) > 300} == {}


def test_no_test_changes_a_constant_of_the_product() -> None:
    """What a test wants otherwise is an argument with a default."""
    changes = re.compile(
        r"""setattr\(\s*(?:[\w.]+,\s*"|"[\w.]+\.)_?[A-Z][A-Z0-9_]+"|^ *[a-z]\w*\.[A-Z][A-Z0-9_]+ =""", re.MULTILINE
    )
    tests = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    assert {str(path.relative_to(ROOT)): found for path, text in tests.items() if (found := changes.findall(text))} == {}


def test_every_requirement_has_a_pinned_version() -> None:
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    required = re.findall(r'"([\w.-]+)>=[\d.]+"', (ROOT / "pyproject.toml").read_text())
    assert len(required) > 10
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in required} <= pinned


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_process_is_forked_with_handlers_of_grpc(path: Path) -> None:
    """With a preexec_fn, subprocess forks as os.fork does, and gRPC's handlers for that were seen to wait for ever."""
    calls = (node for node in nodes_of(path) if isinstance(node, ast.Call))
    assert not [call.lineno for call in calls if any(keyword.arg == "preexec_fn" for keyword in call.keywords)]
