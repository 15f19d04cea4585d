"""Which models a server has from its start: of the command line, config.properties, a snapshot, and the state that was kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from persia.errors import ConfigError

from .registration import Registration
from .settings import Settings

__all__ = ["named_models", "of_snapshot"]

_ENDINGS = (".mar", ".tar.gz", ".tgz")
_ALL, _NONE = "all", "none"


def named_models(settings: Settings, models: Sequence[str], gpus: int) -> list[Registration]:
    """What `--models` names, else `load_models`: all of the store, or archives, each with a name of its own or without."""
    named = [part for given in (models or (settings.load_models,)) for part in _parts(given, settings.store)]
    is_all = [part.lower() for part in named] == [_ALL]
    if is_all:
        named = list(_archives(settings.store)) if settings.store else []
    if [part.lower() for part in named] == [_NONE]:
        named = []
    workers = settings.default_workers if settings.default_workers is not None else gpus or os.cpu_count() or 1
    return [
        Registration(url=url, model_name=name or None, initial_workers=workers, at_start=True, of_whole_store=is_all)
        for name, url in map(_name_and_url, named)
    ]


def _parts(given: str, store: Path | None) -> Iterable[str]:
    """What stands between commas, or between blanks that are in no archive's name."""
    for part in filter(None, (part.strip() for part in given.split(","))):
        is_archive = store is not None and (store / _name_and_url(part)[1]).exists()
        yield from [part] if is_archive else part.split()


def of_snapshot(snapshot: Mapping[str, Any]) -> list[Registration]:
    """What TorchServe's `model_snapshot={...}` names. Raises ConfigError."""
    models = snapshot.get("models")
    if not isinstance(models, dict):
        raise ConfigError(f"expected models in model_snapshot, got {models!r}", "$.model_snapshot.models")
    count = snapshot.get("modelCount")
    if count is not None and count != len(models):
        raise ConfigError(f"expected {count} models, as modelCount says, got {len(models)}", "$.model_snapshot.models")
    return [
        _of_snapshot(name, number, version)
        for name, versions in models.items()
        for number, version in (versions if isinstance(versions, dict) else {}).items()
    ]


def _of_snapshot(name: str, number: str, version: Any) -> Registration:
    place = f"$.model_snapshot.models.{name}.{number}"
    if not isinstance(version, dict) or not isinstance(version.get("marName"), str):
        raise ConfigError(f"expected a version with a marName, got {version!r}", place)

    def count(key: str) -> int | None:
        value = version.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise ConfigError(f"expected a number for {key}, got {value!r}", f"{place}.{key}")
        return value

    least = count("minWorkers")
    least = 1 if least is None else least
    return Registration(
        url=version["marName"],
        model_name=name,
        batch_size=count("batchSize"),
        max_batch_delay=count("maxBatchDelay"),
        response_timeout=count("responseTimeout"),
        startup_timeout=count("startupTimeout"),
        at_start=True,
        workers=(least, max(least, count("maxWorkers") or 0)),
        is_default=version.get("defaultVersion") is True,
    )


def _archives(store: Path) -> Iterable[str]:
    for path in sorted(store.iterdir()) if store.is_dir() else []:
        if path.name.endswith(_ENDINGS) or (path / "MAR-INF").is_dir():
            yield path.name


def _name_and_url(text: str) -> tuple[str, str]:
    """`name=x.mar`; a `=` in the query of a URL separates nothing."""
    name, equals, url = text.partition("=")
    return (name, url) if equals and "/" not in name else ("", text)
