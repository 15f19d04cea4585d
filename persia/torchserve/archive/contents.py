"""What stands in a model archive: its model, handler, settings and signature, without loading any of them."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from persia.errors import CorruptFile
from persia.signature import SIGNATURE_FILE
from persia.torchserve.archive.handler_files import TEXT_HANDLER

__all__ = ["MANIFEST", "ArchiveManifest", "Contents", "open_archive", "read_manifest"]

MANIFEST = "MAR-INF/MANIFEST.json"
_SETUP = "setup_config.json"  # of the archives of TorchServe's transformers example
# What zipfile raises for files that are broken, encrypted or packed in a way that Python does not know, and those who read on.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError),
    *(KeyError, ValueError, TypeError, AttributeError, yaml.YAMLError),
)


@dataclass(frozen=True)
class ArchiveManifest:
    """Which model and version an archive is of."""

    name: str
    version: str


@dataclass(frozen=True)
class Contents:
    """`signature`: the bytes of signature.json. `embedding_config`: those of the file that the handler's settings name."""

    name: str
    version: str
    handler: str
    model_file: str  # "" if it has none
    model_bytes: int
    config_file: str  # with TorchServe's settings and the handler's; "" if it has none
    workers: int
    signature: bytes | None
    embedding_config: bytes | None
    drops_extra: bool  # features that the model does not take
    text_mode: str | None  # what its text model is for, "" if only the model's own config says it; None: it has no text model


def read_manifest(archive: Path) -> ArchiveManifest:
    """The model and version that an archive is of. Raises CorruptFile, OSError."""
    try:
        with zipfile.ZipFile(archive) as opened:
            model = json.loads(opened.read(MANIFEST))["model"]
        return ArchiveManifest(str(model["modelName"]), str(model.get("modelVersion") or "1.0"))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise CorruptFile(str(archive), "a model archive (.mar)", f"{error}", 0) from error


def open_archive(path: Path) -> Contents:
    """Raises CorruptFile if it is no archive, or something that its manifest names is not in it; OSError."""
    try:
        manifest = read_manifest(path)
        with zipfile.ZipFile(path) as opened:
            sizes = {entry.filename: entry.file_size for entry in opened.infolist()}
            model = json.loads(opened.read(MANIFEST))["model"]
            config_file = str(model["configFile"]) if model.get("configFile") in sizes else ""
            settings = yaml.safe_load(opened.read(config_file)) if config_file else {}
            settings = settings if isinstance(settings, dict) else {}
            signature = opened.read(SIGNATURE_FILE) if SIGNATURE_FILE in sizes else None
            config = _file(opened, sizes, _text(settings.get("persia"), "embedding_config"))
    except _BROKEN as error:
        raise CorruptFile(str(path), "a model archive (.mar)", f"{error}", 0) from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise CorruptFile(str(path), "a model archive (.mar)", f"{error}", 0) from error  # places that are not in the file
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
        config_file=config_file,
        workers=_positive(settings.get("minWorkers")),
        signature=signature,
        embedding_config=config,
        drops_extra=_text(settings.get("persia"), "extra_features") == "drop",
        text_mode=_text(settings.get("handler"), "mode") if handler == TEXT_HANDLER.name or _SETUP in sizes else None,
    )


def _file(archive: zipfile.ZipFile, names: Container[str], name: str) -> bytes | None:
    """A file that settings name: one of the archive's, or one of this machine by an absolute path."""
    if name in names:
        return archive.read(name)
    path = Path(name)
    return path.read_bytes() if path.is_absolute() and path.is_file() else None


def _positive(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 1


def _text(settings: Any, key: str) -> str:
    value = settings.get(key) if isinstance(settings, dict) else None
    return value if isinstance(value, str) else ""
