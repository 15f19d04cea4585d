"""Who imports whom in the product, read off its sources."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.places import ROOT

LEAVES = ("client", "embedding_server", "handlers", "middleware", "model_server")
PACKAGES = ("persia", *LEAVES)
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    """Its name when installed: the leaves live inside persia."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "persia" else ("persia", *parts))


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All of a file, whose reading takes longer than every test of it."""
    return list(ast.walk(ast.parse(path.read_text())))


def imports_of(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    """Every module that is named in an import, wherever it stands, by its name when installed."""
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (f"persia.{name}" if name.split(".")[0] in LEAVES else name for name in names)


@functools.cache
def imported_by(path: Path) -> set[str]:
    return set(imports_of(nodes_of(path), module_of(path.parent / "__init__.py")))
