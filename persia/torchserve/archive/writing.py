"""Model archives for TorchServe: a zip file with a manifest, the model, its handler and its configuration."""

from __future__ import annotations

import ast
import json
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime as DateTime
from datetime import timezone
from pathlib import Path

from persia.errors import InvalidInput
from persia.signature import SIGNATURE_FILE
from persia.system.durable import replacing
from persia.torchserve.archive.contents import MANIFEST

__all__ = ["check_handler", "write_archive"]

_CONFIG = "model-config.yaml"
_OTHER_MODELS = {".bin", ".json", ".onnx", ".pt2", ".safetensors"}  # than TorchScript
# Zip's first moment: the same files give the same bytes, so that a checksum tells whether two archives are the same.
_MOMENT = (1980, 1, 1, 0, 0, 0)


def write_archive(
    out: Path,
    name: str,
    version: str,
    model: Path,
    handler: Path | None,
    config: str,
    extra_files: Sequence[Path] = (),
    signature: bytes | None = None,
) -> None:
    """Writes the archive `out`, which appears whole or not at all.

    handler: None: the model server serves the model by itself. config: the text of model-config.yaml. signature: the bytes of
    signature.json (persia.signature).

    Raises InvalidInput for what TorchServe would only find out when it starts a worker; OSError.
    """
    for what, text in (("name", name), ("version", version)):
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", text, re.ASCII):
            raise InvalidInput(f"expected a {what} of letters, digits and `.`, `_`, `+`, `-`, got {text!r}")
    if handler is not None:
        check_handler(handler)
    files = [model, *(() if handler is None else (handler,)), *extra_files]
    names = [path.name if path is not model else _model_name(path) for path in files]
    written = {_CONFIG: config.encode()} | ({} if signature is None else {SIGNATURE_FILE: signature})
    if len({*names, *written}) < len(names) + len(written):
        raise InvalidInput(f"expected files of different names, got {', '.join([*names, *written])}")
    manifest = {
        "createdOn": DateTime.fromtimestamp(model.stat().st_mtime, timezone.utc).strftime("%d/%m/%Y %H:%M:%S"),
        "runtime": "python",
        "model": {
            "modelName": name,
            "serializedFile": names[0],
            **({} if handler is None else {"handler": handler.name}),
            "modelVersion": version,
            "configFile": _CONFIG,
        },
        "archiverVersion": "0.12.0",  # whose format this is
    }
    # What is not whole yet is hidden, because TorchServe's `--models all` takes every file of the model store.
    with replacing(out) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(_entry(MANIFEST), json.dumps(manifest, indent=2))
        for inside, data in written.items():
            archive.writestr(_entry(inside), data)
        for path, inside in zip(files, names, strict=True):
            with path.open("rb") as source, archive.open(_entry(inside), "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)


def check_handler(path: Path) -> None:
    """Raises InvalidInput unless TorchServe would find its entry point: a function `handle`, or exactly one class."""
    try:
        body = ast.parse(path.read_bytes(), str(path)).body
    except (SyntaxError, ValueError) as error:
        raise InvalidInput(f"expected a handler in Python, got {path}: {error}") from error
    possible = list(_of_module(body))
    if any(_name_of(node) == "handle" for node in possible):
        return
    classes = [node.name for node in body if isinstance(node, ast.ClassDef)]
    if len(classes) > 1 or not any(isinstance(node, ast.ClassDef) for node in possible):
        raise InvalidInput(
            f"expected exactly one class in {path}, or a function handle(data, context), got "
            f"{', '.join(classes) or 'no class'}: helpers go into files of their own (--extra-file)"
        )


def _of_module(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What a module may have once it is imported: also what stands under `if` or `try`."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler, ast.ImportFrom)):
            yield from _of_module(ast.iter_child_nodes(node))


def _name_of(node: ast.AST) -> str | None:
    """Of a function, or of what an import brings."""
    if isinstance(node, ast.alias):
        return node.asname or node.name
    return node.name if isinstance(node, ast.FunctionDef) else None


def _model_name(model: Path) -> str:
    """TorchServe takes TorchScript only from files that end in .pt; Persia's guide has .pth."""
    return model.name if model.suffix in _OTHER_MODELS else model.with_suffix(".pt").name


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _MOMENT)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
