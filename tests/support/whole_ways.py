"""Test files of whole ways: through other programs, or through many starts of torch. `make test` leaves them out (D-257)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.support.places import ROOT

# A file is read for this line before it is imported, because the imports of many such files take seconds.
MARK = "pytest.mark.whole_way"


def is_whole_way(path: Path) -> bool:
    return MARK in path.read_text()


def whole_ways(named: Iterable[Path]) -> list[Path]:
    """Those in the named folders. A file that is itself named is wanted, and is none of them."""
    wanted = {path.resolve() for path in named}
    files = {file for folder in wanted if folder.is_dir() for file in folder.rglob("test_*.py")}
    return sorted(file for file in files - wanted if is_whole_way(file))


def left_out_text(files: Iterable[Path]) -> list[str]:
    """A line for each folder of files that were left out."""
    folders: dict[Path, list[str]] = {}
    for file in files:
        folders.setdefault(file.parent.relative_to(ROOT), []).append(file.stem)
    return [f"  {folder}: {', '.join(names)}" for folder, names in folders.items()]
