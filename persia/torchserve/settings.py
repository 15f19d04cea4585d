"""The settings of our handler: what stands under `persia` in an archive's model-config.yaml."""

from __future__ import annotations

from typing import Any

from persia.errors import ConfigError

__all__ = ["DEFAULTS", "handler_settings"]

DEFAULTS: dict[str, Any] = {
    "addresses": None,
    "global_config": None,
    "embedding_config": None,
    "timeout_ms": 10_000,
    "threads": 1,
    "max_answer_mib": 64,
    "warm_up": None,
    "log_level": "WARNING",
}

_NUMBERS = ("timeout_ms", "threads", "max_answer_mib")


def handler_settings(config: dict[str, Any] | None, file: str = "model-config.yaml") -> dict[str, Any]:
    """The settings of a whole model-config.yaml, over the defaults. Raises ConfigError."""
    given = (config or {}).get("persia") or {}
    if not isinstance(given, dict):
        raise ConfigError(f"expected a mapping of settings, got {given!r}", "$.persia", file)
    for key, value in given.items():
        if key not in DEFAULTS:
            raise ConfigError(f"unknown key, known are {', '.join(DEFAULTS)}", f"$.persia.{key}", file)
        if key in _NUMBERS and not (type(value) is int and value > 0):
            raise ConfigError(f"expected a positive number, got {value!r}", f"$.persia.{key}", file)
    return {**DEFAULTS, **given}
