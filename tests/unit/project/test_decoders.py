"""msgspec looks into a type at its first use, and a second thread that decodes it meanwhile ends the process."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.places import ROOT

ROOMS = ("persia", "client", "embedding_server", "handlers", "middleware", "model_server")
# Types without a Struct, of which nothing is kept; files that one thread reads.
ALONE = {"persia/open_inference/json_data.py", "persia/importers/safetensors_files.py"}


def decodes_by_type(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("msgspec.json.decode", "msgspec.msgpack.decode"):
            for keyword in node.keywords:
                if keyword.arg == "type":
                    yield f"{path.relative_to(ROOT)}:{node.lineno} decodes {ast.unparse(keyword.value)}"


def test_decoders_are_made_when_their_module_is_imported() -> None:
    """By one thread, as an import is."""
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.relative_to(ROOT).as_posix() not in ALONE]
    assert len(paths) > 300
    assert [found for path in paths for found in decodes_by_type(path)] == []
