"""What stands in a model archive: its model, handler, settings and signature, without loading any of them."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from persia.errors import CorruptFile

from .archive import read_manifest

__all__ = ["OUR_HANDLER", "Contents", "open_archive"]

_MANIFEST = "MAR-INF/MANIFEST.json"
_SIGNATURE = "signature.json"
OUR_HANDLER = "persia_handler.py"


@dataclass(frozen=True)
class Contents:
    """`signature`: the bytes of signature.json, or None. `embedding_config`: which one the handler's settings name, or ""."""

    name: str
    version: str
    handler: str
    model_file: str  # "" if it has none
    model_bytes: int
    workers: int
    signature: bytes | None
    embedding_config: str


def open_archive(path: Path) -> Contents:
    """Raises CorruptFile if it is no archive, or something that its manifest names is not in it; OSError."""
    manifest = read_manifest(path)
    try:
        with zipfile.ZipFile(path) as opened:
            sizes = {entry.filename: entry.file_size for entry in opened.infolist()}
            model = json.loads(opened.read(_MANIFEST))["model"]
            settings = yaml.safe_load(opened.read(model["configFile"])) if model.get("configFile") in sizes else {}
            signature = opened.read(_SIGNATURE) if _SIGNATURE in sizes else None
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, yaml.YAMLError) as error:
        raise CorruptFile(str(path), "a model archive (.mar)", f"{error}", 0) from error
    settings = settings if isinstance(settings, dict) else {}
    handler, model_file = str(model.get("handler") or ""), str(model.get("serializedFile") or "")
    for named in (handler, model_file):
        # TorchServe has handlers of its own, which are named without .py; `file.py:function` is allowed too.
        file = named.partition(":")[0]
        if file and file not in sizes and (named is model_file or file.endswith(".py")):
            raise CorruptFile(str(path), f"the file {file}, which its manifest names", "none of that name", 0)
    return Contents(
        name=manifest.name,
        version=manifest.version,
        handler=handler,
        model_file=model_file,
        model_bytes=sizes.get(model_file, 0),
        workers=_positive(settings.get("minWorkers")),
        signature=signature,
        embedding_config=_text(settings.get("persia"), "embedding_config"),
    )


def _positive(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 1


def _text(settings: Any, key: str) -> str:
    value = settings.get(key) if isinstance(settings, dict) else None
    return value if isinstance(value, str) else ""
