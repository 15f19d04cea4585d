"""What a model server is told by TorchServe's config.properties and, where that allows it, by the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from persia.errors import ConfigError
from persia.torchserve.java_properties import read_properties

from .access_settings import AccessSettings, read_access
from .metrics_settings import MetricsSettings, read_metrics
from .properties import Properties

__all__ = ["Settings", "read_settings"]

_ADDRESS = re.compile(r"(?P<scheme>https?)://(?P<host>\[[^\]]+\]|[^:/]*)(?::(?P<port>\d+))?/?$")
_PREFIX = "TS_"


@dataclass(frozen=True)
class Settings:
    """Addresses are `host:port` or `unix:/path`."""

    inference: str = "127.0.0.1:8080"
    management: str = "127.0.0.1:8081"
    grpc_inference: str = "127.0.0.1:7070"
    grpc_management: str = "127.0.0.1:7071"
    store: Path | None = None
    load_models: str = ""
    api_enabled: bool = False
    response_timeout: int = 120
    startup_timeout: int = 120
    unregister_timeout: int = 120
    job_queue_size: int = 100
    max_request_size: int = 6_553_500
    max_response_size: int = 6_553_500
    default_workers: int | None = None
    default_handler: str | None = None
    envelope: str = ""
    access: AccessSettings = field(default_factory=AccessSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)


def read_settings(path: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises ConfigError, OSError."""
    values: dict[str, tuple[str, str]] = {}  # and where each is from
    if path is not None:
        for entry in read_properties(path):
            values[entry.key] = (_filled(entry.value, environment).strip(), f"{path}, line {entry.line}")
    if values.get("enable_envvars_config", ("", ""))[0].lower() == "true":
        for name, value in environment.items():
            if name.startswith(_PREFIX):
                values[name[len(_PREFIX) :].lower()] = (value, f"${name}")
    values = {key: value for key, value in values.items() if value[0]}
    default = Settings()
    properties = Properties(path, environment)

    def number(key: str, otherwise: int) -> int:
        value, place = values.get(key, (str(otherwise), ""))
        if not value.isdigit():
            raise ConfigError(f"{place}: expected a number for {key}, got {value!r}")
        return int(value)

    def text(key: str) -> str | None:
        return values[key][0] if key in values else None

    store = text("model_store")
    workers = number("default_workers_per_model", 0) if "default_workers_per_model" in values else None
    return Settings(
        inference=_http(values, "inference_address", default.inference),
        management=_http(values, "management_address", default.management),
        grpc_inference=f"{text('grpc_inference_address') or '127.0.0.1'}:{number('grpc_inference_port', 7070)}",
        grpc_management=f"{text('grpc_management_address') or '127.0.0.1'}:{number('grpc_management_port', 7071)}",
        store=Path(store) if store else None,
        load_models=text("load_models") or "",
        api_enabled=(text("enable_model_api") or "").lower() == "true",
        response_timeout=number("default_response_timeout", default.response_timeout),
        startup_timeout=number("default_startup_timeout", default.startup_timeout),
        unregister_timeout=number("unregister_model_timeout", default.unregister_timeout),
        job_queue_size=number("job_queue_size", default.job_queue_size),
        max_request_size=number("max_request_size", default.max_request_size),
        max_response_size=number("max_response_size", default.max_response_size),
        default_workers=workers,
        default_handler=text("default_service_handler"),
        envelope=text("service_envelope") or "",
        access=read_access(properties),
        metrics=read_metrics(properties),
    )


def _http(values: Mapping[str, tuple[str, str]], key: str, default: str) -> str:
    if key not in values:
        return default
    value, place = values[key]
    if value.startswith("unix:"):
        return value
    matched = _ADDRESS.fullmatch(value)
    if matched is None:
        raise ConfigError(f"{place}: expected an address such as http://127.0.0.1:8080 or unix:/path for {key}, got {value!r}")
    return f"{matched['host']}:{matched['port'] or 80}"


def _filled(value: str, environment: Mapping[str, str]) -> str:
    """With the environment's values in place of `$$NAME$$`."""
    return re.sub(r"\$\$(\w+)\$\$", lambda match: environment.get(match[1], match[0]), value)
