"""model-config.yaml of an archive, with every setting that TorchServe would otherwise choose by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from persia.errors import ConfigError

__all__ = ["DEFAULTS", "SETTINGS", "model_config", "read_extra"]

# One that leaves a setting out gets TorchServe's own value for it, whatever config.properties or RegisterModel say. With each
# value goes what it means, for the documents.
SETTINGS: Mapping[str, tuple[Any, str]] = {
    "minWorkers": (1, "Processes that run the handler"),
    "maxWorkers": (1, "As many; TorchServe starts no more by itself"),
    "batchSize": (1, "Requests that a worker gets at a time. Clients send batches already, and a lone request would wait"),
    "maxBatchDelay": (1, "Milliseconds that a request waits for such company"),
    "responseTimeout": (
        60,
        "Seconds after which a worker that has not answered is killed, so it is more than any caller waits for",
    ),
    "startupTimeout": (120, "Seconds that a worker may take to load the model"),
    "maxRetryTimeoutInSec": (
        7 * 24 * 3600,
        "Seconds for which a worker that cannot load is started again, at most every 55 s: what it waits for may come back",
    ),
    "jobQueueSize": (100, "Requests that may wait; one more is refused"),
    "deviceType": ("cpu", "`cpu` or `gpu`"),
}
DEFAULTS: Mapping[str, Any] = {key: value for key, (value, _) in SETTINGS.items()}


# What TorchServe does with these, tried out; whatever the value.
_HARMFUL = {
    "clientTimeoutInMills": "TorchServe drops an answer that comes later without a word: give each call a deadline instead",
    "asyncCommunication": "TorchServe never answers the second call",
}


def model_config(extra: Mapping[str, Any], **settings: Any) -> str:
    """The YAML text: the defaults, then extra (from a file), then settings that are not None."""
    for key in extra:
        if key in _HARMFUL:
            raise ConfigError(f"expected no {key}: {_HARMFUL[key]}", f"$.{key}")
        if key not in DEFAULTS and key.lower() in {name.lower() for name in DEFAULTS}:
            (name,) = (name for name in DEFAULTS if name.lower() == key.lower())
            raise ConfigError(f"expected {name}, got {key}", f"$.{key}")
    merged = {**DEFAULTS, **extra, **{key: value for key, value in settings.items() if value is not None}}
    for key, default in DEFAULTS.items():
        value = merged[key]
        if type(value) is not type(default) or (isinstance(value, int) and value < 1):
            raise ConfigError(
                f"expected {'a positive number' if isinstance(default, int) else 'text'}, got {value!r}", f"$.{key}"
            )
    if merged["maxWorkers"] < merged["minWorkers"]:
        raise ConfigError(f"expected at least minWorkers, {merged['minWorkers']}, got {merged['maxWorkers']}", "$.maxWorkers")
    return yaml.safe_dump(merged, sort_keys=False, allow_unicode=True)


def read_extra(path: Path) -> dict[str, Any]:
    """Settings that a user wrote: TorchServe's, and what the handler reads. Raises ConfigError, OSError."""
    try:
        settings = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected YAML: {error}", file=str(path)) from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(f"expected a mapping of settings, got {type(settings).__name__}", file=str(path))
    return settings
