"""An archive's own handler in this process, called as TorchServe's workers call it."""

from __future__ import annotations

import importlib.util
import inspect
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from persia.errors import InvalidInput

from .contents import MANIFEST

__all__ = ["handler_class", "set_requests", "unpacked_context"]


def unpacked_context(archive: Path, directory: Path, settings: Mapping[str, Any] | None = None) -> Any:
    """What TorchServe hands to a handler, with the archive unpacked to the directory.

    settings: instead of some of those under `persia` in the archive. REQUIRES: open_archive() reads the archive.
    """
    from ts.context import Context  # TorchServe's, which is installed where it serves
    from ts.metrics.metrics_store import MetricsStore

    with zipfile.ZipFile(archive) as opened:
        opened.extractall(directory)
    manifest = yaml.safe_load((directory / MANIFEST).read_text())  # JSON is YAML
    model = manifest["model"]
    config = yaml.safe_load((directory / model["configFile"]).read_text()) if model.get("configFile") else None
    config = config if isinstance(config, dict) else {}
    if settings is not None:
        config = {**config, "persia": {**(config.get("persia") or {}), **settings}}
    context = Context(
        model_name=model["modelName"],
        model_dir=str(directory),
        manifest=manifest,
        batch_size=1,
        gpu=None,
        mms_version=None,
        metrics=MetricsStore({}, model["modelName"]),
        model_yaml_config=config,
    )
    set_requests(context, 1)
    return context


def set_requests(context: Any, count: int) -> None:
    """So many requests without headers are to be handled next."""
    from ts.context import RequestProcessor

    context.request_ids = {i: f"request {i}" for i in range(count)}
    context.request_processor = [RequestProcessor({}) for _ in range(count)]


def handler_class(path: Path) -> Any:
    """The only class in the file, which is how TorchServe finds it. Raises InvalidInput if there is no such class."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"expected a handler in a Python file, got {path.name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == path.stem]
    if len(found) != 1:
        raise InvalidInput(f"expected exactly one class in {path.name}, got {len(found)}")
    return found[0]
