"""Archives as `torch-model-archiver` makes them: found in the model store, unpacked, and read.

An archive is a zip (`.mar`), a tar of any compression, or a directory. A manifest that names files outside of it is refused.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from persia.errors import CorruptFile, InvalidInput
from persia.system.regular import open_regular

from .downloads import fetch, is_url
from .open_inference.plain_models import TENSOR_HANDLER, is_plain_model, lay_out
from .refusals import ArchiveUnreadable, BadRequest, NotFound
from .registration import Registration, is_text
from .unpacking import UnpackLimits, unpack

__all__ = ["Archive", "ArchiveFile", "find_archive", "open_archive", "remove_unpacked"]

_MANIFEST = "MAR-INF/MANIFEST.json"
# Of a manifest's model: files of the archive. A handler may have the name of a function behind a colon.
_FILES = ("serializedFile", "modelFile", "handler", "requirementsFile", "configFile")
_TEXTS = ("modelName", "modelVersion", *_FILES)


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


class ArchiveFile(NamedTuple):
    """Where an archive lies, and whether it was fetched there for this registration."""

    path: Path
    is_fetched: bool = False


def find_archive(url: str, store: Path | None, allowed: Sequence[re.Pattern[str]] = ()) -> ArchiveFile:
    """The file or directory that a registration names: in the model store, or fetched into it. Raises Refusal.

    url: a name, a path whose last part is a name of the store, the absolute path of a directory below the store, or a URL that
    one of `allowed` matches.
    """
    if store is None:
        raise NotFound("Model store has not been configured.")
    if not url:
        raise NotFound("empty url")
    if ".." in PurePosixPath(url).parts:
        raise NotFound(f"Relative path is not allowed in url: {url}")
    if is_url(url):
        return ArchiveFile(fetch(url, store, allowed), is_fetched=True)
    path = _directory_below(store, url) or store / PurePosixPath(url).name
    try:
        is_there = path.exists()
    except OSError as error:
        raise BadRequest(f"expected the name of an archive as url, got one that no file can have: {error.strerror}") from error
    if not is_there:
        raise NotFound(f"Model not found at: {url}")
    return ArchiveFile(path)


def open_archive(path: Path, wanted: Registration, into: Path, limits: UnpackLimits, default_handler: str | None) -> Archive:
    """Unpacks an archive into a directory of its own below `into`. Raises ArchiveUnreadable, NoDiskSpace.

    wanted: its name and handler count where the manifest, or an archive without one, does not say them.
    """
    directory = into / uuid.uuid4().hex
    try:
        if path.is_dir():
            directory.symlink_to(path.resolve(), target_is_directory=True)
        else:
            directory.mkdir(parents=True)
            if is_plain_model(path):
                _lay_out(path, directory)
            else:
                unpack(path, directory, limits)
        return _read(directory, path, wanted, wanted.handler or default_handler)
    except BaseException:
        remove_unpacked(directory)
        raise


def remove_unpacked(directory: Path) -> None:
    """Of an archive that is served no more."""
    if directory.is_symlink():
        directory.unlink(missing_ok=True)
    else:
        shutil.rmtree(directory, ignore_errors=True)


def _directory_below(store: Path, url: str) -> Path | None:
    """The directory of that absolute path, however deep it lies in the store; None: it is none of the store's."""
    if not url.startswith("/"):
        return None
    path = Path(url)
    try:
        resolved, root = path.resolve(), store.resolve()
        return path if root in resolved.parents and path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # a name that no file can have, links without an end
        return None


def _lay_out(path: Path, directory: Path) -> None:
    try:
        lay_out(path, directory)
    except (CorruptFile, InvalidInput) as error:
        raise ArchiveUnreadable(f"{path.name} is no model that can be served: {error}") from error


def _read(directory: Path, path: Path, wanted: Registration, default_handler: str | None) -> Archive:
    manifest_path = directory / _MANIFEST
    if not manifest_path.is_file():
        # An archiver that packed a directory put one around everything.
        inner = [entry for entry in directory.iterdir() if (entry / _MANIFEST).is_file()]
        if len(inner) == 1 and not path.is_dir():
            return _read(inner[0], path, wanted, default_handler)
        if default_handler is None:
            raise ArchiveUnreadable(f"Missing manifest file in model archive: expected {_MANIFEST} in {path.name}")
        manifest: Any = {"model": {"modelName": path.name.split(".")[0]}}
    else:
        manifest = _json(manifest_path, path)
    model = manifest.get("model") if isinstance(manifest, dict) else None
    if not isinstance(model, dict) or not (model.get("modelName") or wanted.model_name):
        raise ArchiveUnreadable(f"Model name is not defined: expected model.modelName in {_MANIFEST} of {path.name}")
    _check_texts(model, path)
    _check_files(model, directory, path)
    handler = model.get("handler") or default_handler or (TENSOR_HANDLER if model.get("serializedFile") else None)
    if not handler:
        raise ArchiveUnreadable(f"Model handler is not defined: expected model.handler in {_MANIFEST} of {path.name}")
    requirements = model.get("requirementsFile")
    return Archive(
        directory=directory,
        url=wanted.url,
        model_name=str(model.get("modelName") or wanted.model_name),
        version=str(model.get("modelVersion") or "1.0"),
        handler=str(handler),
        runtime=str(manifest.get("runtime") or "python").lower(),
        requirements=directory / requirements if requirements else None,
        config=_config(directory, model.get("configFile"), path),
    )


def _json(manifest: Path, path: Path) -> Any:
    try:
        with open_regular(manifest) as file:
            return json.loads(file.read())
    except RecursionError as error:
        raise ArchiveUnreadable(f"Failed to parse model signature: {_MANIFEST} of {path.name} is nested too deep") from error
    except InvalidInput as error:
        raise ArchiveUnreadable(f"{_MANIFEST} of {path.name}: {error}") from error
    except ValueError as error:
        raise ArchiveUnreadable(f"Failed to parse model signature: {_MANIFEST} of {path.name} is no JSON: {error}") from error


def _check_texts(model: Mapping[str, Any], path: Path) -> None:
    """Raises ArchiveUnreadable for what no text is."""
    for key in _TEXTS:
        value = model.get(key)
        if not isinstance(value, (str, int, float, type(None))) or not is_text(str(value)):
            raise ArchiveUnreadable(f"expected a text for model.{key} in {_MANIFEST} of {path.name}, got {value!r:.100}")


def _check_files(model: Mapping[str, Any], directory: Path, path: Path) -> None:
    """Raises ArchiveUnreadable for files that are none, or not of the archive."""
    extra = model.get("extraFiles") or ()
    named = [(key, str(model[key])) for key in _FILES if model.get(key)]
    named += [("extraFiles", str(name).strip()) for name in (extra.split(",") if isinstance(extra, str) else extra)]
    for key, name in named:
        inner = PurePosixPath(name.replace("\\", "/"))
        is_inside = not inner.is_absolute() and ".." not in inner.parts
        if not is_inside or _is_special(directory / name):
            raise ArchiveUnreadable(
                f"expected a file of the archive for model.{key} in {_MANIFEST} of {path.name}, got {name!r}"
            )


def _is_special(path: Path) -> bool:
    """Whether to open it may wait for ever, or do something. One that is missing is found by who needs it."""
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:  # a name that no file can have
        return True


def _config(directory: Path, name: str | None, path: Path) -> dict[str, Any]:
    if not name:
        return {}
    try:
        with open_regular(directory / name) as file:
            config = yaml.safe_load(file.read())
    except RecursionError as error:
        raise ArchiveUnreadable(
            f"Failed to read the model's config file {name} of {path.name}: it is nested too deep"
        ) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ArchiveUnreadable(f"Failed to read the model's config file {name} of {path.name}: {error}") from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise ArchiveUnreadable(f"expected a mapping of keys in {name} of {path.name}, got {type(config).__name__}")
    return config
