"""Small files that travel inside the model's own, because the example's archive commands name no tokenizer.

A TorchScript file has room for them (`_extra_files` of torch.jit.save); beside weights, config.json takes them under a key.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persia.errors import ConfigError

__all__ = ["CONFIG_KEY", "EMBEDDED", "embedded_files"]

CONFIG_KEY = "persia_files"
EMBEDDED = ("config.json", "tokenizer.json", "tokenizer_config.json")


def embedded_files(config: Mapping[str, Any], weights: Path) -> dict[str, dict[str, Any]]:
    """What is in config.json, and in a TorchScript file of weights, by the files' names. Raises ConfigError, OSError."""
    files = dict(config.get(CONFIG_KEY) or {})
    if not weights.is_file() or not zipfile.is_zipfile(weights):
        return files
    with zipfile.ZipFile(weights) as opened:
        for name in opened.namelist():
            inside = name.partition("/extra/")[2]
            if inside in EMBEDDED:
                try:
                    files[inside] = json.loads(opened.read(name))
                except ValueError as error:
                    raise ConfigError(f"expected {inside} inside it to be JSON: {error}", file=weights.name) from error
    return files
