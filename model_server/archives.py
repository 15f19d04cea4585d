"""Archives as `torch-model-archiver` makes them: found in the model store, unpacked, and read.

An archive is a zip (`.mar`), a tar of any compression, or a directory. Links, and members that would land outside of the
directory they are unpacked into, are refused.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from .downloads import fetch, is_url
from .open_inference.plain_models import TENSOR_HANDLER, is_plain_model, lay_out
from .refusals import ArchiveUnreadable, NotFound

__all__ = ["Archive", "Found", "find_archive", "open_archive", "remove_unpacked"]

_MANIFEST = "MAR-INF/MANIFEST.json"


@dataclass(frozen=True)
class Archive:
    """What a worker needs of an archive. `config`: its model-config.yaml, empty if it has none."""

    directory: Path
    url: str
    model_name: str
    version: str
    handler: str
    runtime: str
    requirements: Path | None
    config: dict[str, Any] = field(default_factory=dict)


class Found(NamedTuple):
    """Where an archive lies, and whether it was fetched there for this registration."""

    path: Path
    is_fetched: bool = False


def find_archive(url: str, store: Path | None, allowed: Sequence[re.Pattern[str]] = ()) -> Found:
    """The file or directory that a registration names: in the model store, or fetched into it. Raises Refusal.

    url: a name, a path whose last part is a name of the store, or a URL that one of `allowed` matches.
    """
    if store is None:
        raise NotFound("Model store has not been configured.")
    if not url:
        raise NotFound("empty url")
    if ".." in PurePosixPath(url).parts:
        raise NotFound(f"Relative path is not allowed in url: {url}")
    if is_url(url):
        return Found(fetch(url, store, allowed), is_fetched=True)
    path = store / PurePosixPath(url).name
    if not path.exists():
        raise NotFound(f"Model not found at: {url}")
    return Found(path)


def open_archive(path: Path, url: str, into: Path, default_handler: str | None = None) -> Archive:
    """Unpacks an archive into a directory of its own below `into`. Raises ArchiveUnreadable."""
    directory = into / uuid.uuid4().hex
    try:
        if path.is_dir():
            directory.symlink_to(path.resolve(), target_is_directory=True)
        else:
            directory.mkdir(parents=True)
            (lay_out if is_plain_model(path) else _unpack)(path, directory)
        return _read(directory, path, url, default_handler)
    except BaseException:
        remove_unpacked(directory)
        raise


def remove_unpacked(directory: Path) -> None:
    """Of an archive that is served no more."""
    if directory.is_symlink():
        directory.unlink(missing_ok=True)
    else:
        shutil.rmtree(directory, ignore_errors=True)


def _unpack(path: Path, directory: Path) -> None:
    try:
        if not zipfile.is_zipfile(path) and not tarfile.is_tarfile(path):
            raise ArchiveUnreadable(f"{path.name} is no archive: expected a zip, as .mar is, or a tar")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    _check_name(member.filename, is_link=(member.external_attr >> 16) & 0o170000 == 0o120000)
                archive.extractall(directory)
        else:
            with tarfile.open(path) as archive:
                for entry in archive.getmembers():
                    _check_name(entry.name, is_link=not (entry.isfile() or entry.isdir()))
                archive.extractall(directory, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ArchiveUnreadable(f"{path.name} is no archive that can be unpacked: {error}") from error


def _check_name(name: str, is_link: bool) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or is_link:
        what = "a link or a device" if is_link else "a member outside of the archive"
        raise ArchiveUnreadable(f"expected files and directories of the archive itself, got {what}: {name!r}")


def _read(directory: Path, path: Path, url: str, default_handler: str | None) -> Archive:
    manifest_path = directory / _MANIFEST
    if not manifest_path.is_file():
        # An archiver that packed a directory put one around everything.
        inner = [entry for entry in directory.iterdir() if (entry / _MANIFEST).is_file()]
        if len(inner) == 1 and not path.is_dir():
            return _read(inner[0], path, url, default_handler)
        if default_handler is None:
            raise ArchiveUnreadable(f"Missing manifest file in model archive: expected {_MANIFEST} in {path.name}")
        manifest: Any = {"model": {"modelName": path.name.split(".")[0], "handler": default_handler}}
    else:
        try:
            manifest = json.loads(manifest_path.read_text())
        except ValueError as error:
            raise ArchiveUnreadable(
                f"Failed to parse model signature: {_MANIFEST} of {path.name} is no JSON: {error}"
            ) from error
    model = manifest.get("model") if isinstance(manifest, dict) else None
    if not isinstance(model, dict) or not model.get("modelName"):
        raise ArchiveUnreadable(f"Model name is not defined: expected model.modelName in {_MANIFEST} of {path.name}")
    handler = model.get("handler") or default_handler or (TENSOR_HANDLER if model.get("serializedFile") else None)
    if not handler:
        raise ArchiveUnreadable(f"Model handler is not defined: expected model.handler in {_MANIFEST} of {path.name}")
    requirements = model.get("requirementsFile")
    return Archive(
        directory=directory,
        url=url,
        model_name=str(model["modelName"]),
        version=str(model.get("modelVersion") or "1.0"),
        handler=str(handler),
        runtime=str(manifest.get("runtime") or "python").lower(),
        requirements=directory / requirements if requirements else None,
        config=_config(directory, model.get("configFile"), path),
    )


def _config(directory: Path, name: str | None, path: Path) -> dict[str, Any]:
    if not name:
        return {}
    try:
        config = yaml.safe_load((directory / name).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ArchiveUnreadable(f"Failed to read the model's config file {name} of {path.name}: {error}") from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise ArchiveUnreadable(f"expected a mapping of keys in {name} of {path.name}, got {type(config).__name__}")
    return config
