"""The JSON files that lie beside a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from persia.errors import ConfigError

__all__ = ["read_json", "read_object", "read_object_if_there"]


def read_json(path: Path) -> Any:
    """What a file says. Raises ConfigError with the file's name, OSError."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:  # also of bytes that are not UTF-8
        raise ConfigError(f"expected JSON: {error}", file=path.name) from error


def read_object(path: Path) -> dict[str, Any]:
    """Of a file that has to be a JSON object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise ConfigError(f"expected a JSON object, got a {type(value).__name__}", file=path.name)
    return value


def read_object_if_there(path: Path) -> dict[str, Any]:
    """Empty for a file that is not there."""
    return read_object(path) if path.exists() else {}
