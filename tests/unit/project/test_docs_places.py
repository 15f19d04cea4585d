"""Files that documents name are there, and so are the functions of the journeys in docs/architecture.md."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.places import ROOT

PAGES = {path: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]}
PRODUCT = ("persia", "native", "embedding_server", "middleware", "model_server", "handlers", "client")
FOLDERS = (*PRODUCT, "tests", "benchmarks", "examples", "protos", "base", "deploy")
PLACE = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*\w)`")
# A number and an arrow, if there are any, names of functions, files, and what happens there, each after two spaces or more.
HOP = re.compile(r"^ {4}(?:\d+ )?[ >]*([\w.:]+(?:, [\w.:]+)*) {2,}([\w/.-]+\.\w+(?:, [\w/.-]+\.\w+)*)", re.MULTILINE)
HOPS = HOP.findall((ROOT / "docs" / "architecture.md").read_text())


@cache
def sources() -> dict[Path, str]:
    paths = [path for folder in PRODUCT for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".cpp", ".hpp"}]
    return {path: path.read_text() for path in paths}


def files_of(name: str, first: str) -> list[Path]:
    """A file without a folder is in that of the first one, or else in any folder that has such a file."""
    if "/" in name:
        return [ROOT / name]
    beside = ROOT / first.rpartition("/")[0] / name
    found = [beside] if beside in sources() else [path for path in sources() if path.name == name]
    assert found, f"there is no {name}"
    return found


def has(text: str, name: str) -> bool:
    return re.search(rf"\b{re.split(r'::|[.]', name)[-1]}\b", text) is not None


def test_files_that_documents_name_are_there() -> None:
    named = {(path.name, place) for path, text in PAGES.items() for place in PLACE.findall(text)}
    assert len(named) > 20
    assert {(page, place) for page, place in named if not (ROOT / place).exists()} == set()


def test_the_journeys_are_found() -> None:
    assert len(HOPS) >= 26


@pytest.mark.parametrize(("names", "files"), HOPS)
def test_a_hop_is_where_the_architecture_says(names: str, files: str) -> None:
    first, *others = names.split(", ")
    paths = [path for file in files.split(", ") for path in files_of(file, files.split(", ")[0])]
    assert any(has(path.read_text(), first) for path in paths), f"{first} is not in {files}"
    everything = "\n".join(sources().values())
    assert [name for name in others if not has(everything, name)] == []
