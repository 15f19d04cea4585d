"""What stands under `system` in a model-config."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from persia.errors import ConfigError
from persia.torchserve.settings import environment_threads

from .extra_files import extra_files_of

__all__ = ["FactorySettings"]

log = logging.getLogger(__name__)

_KNOWN = ("extraFiles", "maxGPUMemory", "maxMemory", "threads", "answers", "stack")


@dataclass(frozen=True)
class FactorySettings:
    extra_files: tuple[str, ...] = ()
    max_gpu_memory_mb: int | None = None
    max_memory_mb: int | None = None
    threads: int = 1
    answers: str = "jsonpickle"
    stack: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any] | None) -> FactorySettings:
        """Of a whole model-config. Raises ConfigError."""
        system = (config or {}).get("system") or {}
        if not isinstance(system, dict):
            raise ConfigError(f"expected a mapping of settings, got {system!r}", "$.system")
        for key in system.keys() - set(_KNOWN):
            log.warning("the model-config has $.system.%s, which is not read; read are %s", key, ", ".join(_KNOWN))
        return cls(
            tuple(extra_files_of(config)),
            _number(system, "maxGPUMemory"),
            _number(system, "maxMemory"),
            _number(system, "threads") or environment_threads() or 1,
            _one_of(system, "answers", "jsonpickle", "json"),
            _one_of(system, "stack", True, False),
        )


def _number(system: Mapping[str, Any], key: str) -> int | None:
    value = system.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 1:
        raise ConfigError(f"expected a positive number, got {value!r}", f"$.system.{key}")
    return int(value)


def _one_of(system: Mapping[str, Any], key: str, *values: Any) -> Any:
    """The first one if there is no such key."""
    value = system.get(key, values[0])
    if value not in values:
        raise ConfigError(f"expected {' or '.join(map(str, values))}, got {value!r}", f"$.system.{key}")
    return value
