"""What a model server is told by TorchServe's config.properties and, where that allows it, by the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .access_settings import AccessSettings, read_access
from .metrics_settings import MetricsSettings, read_metrics
from .properties import Properties
from .property_keys import note_on
from .unpacking import UnpackLimits

__all__ = ["Settings", "config_file", "read_settings"]

FOREVER = 2_000_000  # seconds, as long as a socket waits
MOST_BYTES = (1 << 31) - 1  # of a body: the frames between server and workers have lengths of 32 bits with a sign


@dataclass(frozen=True)
class Settings:
    """Addresses are `host:port` or `unix:/path`. `notes`: what of the file has no effect, for the log."""

    inference: str = "127.0.0.1:8080"
    management: str = "127.0.0.1:8081"
    grpc_inference: str = "127.0.0.1:7070"
    grpc_management: str = "127.0.0.1:7071"
    store: Path | None = None
    load_models: str = ""
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    per_model: Mapping[str, Any] = field(default_factory=dict)  # model: version: its defaults, of `models={...}`
    api_enabled: bool = False
    allowed_urls: tuple[re.Pattern[str], ...] = ()  # beside the model store
    response_timeout: int = 120
    startup_timeout: int = 120
    unregister_timeout: int = 120
    job_queue_size: int = 100
    max_request_size: int = 6_553_500
    max_response_size: int = 6_553_500
    unpack_limits: UnpackLimits = field(default_factory=UnpackLimits)
    default_workers: int | None = None
    default_handler: str | None = None
    envelope: str = ""
    installs_requirements: bool = False
    gpus: int | None = None  # None: as many as the machine has
    first_worker: int = 9000
    hidden_variables: re.Pattern[str] | None = None  # of the environment, that workers do not see
    decodes_inputs: bool = True
    limits_image_pixels: bool = True
    access: AccessSettings = field(default_factory=AccessSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    notes: tuple[str, ...] = ()


def config_file(given: Path | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file that counts: the environment's, else the command line's, else one in the working directory."""
    if "TS_CONFIG_FILE" in environment:
        return Path(environment["TS_CONFIG_FILE"])
    here = Path("config.properties")
    return given or (here if here.is_file() else None)


def read_settings(path: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises ConfigError, OSError."""
    properties = Properties(path, environment)
    default = Settings()
    debug = properties.flag("debug")  # for a debugger in a handler: nothing times out
    store = properties.text("model_store")
    settings: dict[str, Any] = {
        "inference": properties.address("inference_address", default.inference),
        "management": properties.address("management_address", default.management),
        "grpc_inference": _grpc(properties, "grpc_inference", 7070),
        "grpc_management": _grpc(properties, "grpc_management", 7071),
        "store": Path(store) if store else None,
        "load_models": properties.text("load_models") or "",
        "snapshot": properties.mapping("model_snapshot"),
        "per_model": properties.mapping("models"),
        "api_enabled": properties.flag("enable_model_api"),
        "allowed_urls": properties.patterns("allowed_urls"),
        "response_timeout": FOREVER if debug else properties.number("default_response_timeout", default.response_timeout),
        "startup_timeout": FOREVER if debug else properties.number("default_startup_timeout", default.startup_timeout),
        "unregister_timeout": properties.number("unregister_model_timeout", default.unregister_timeout),
        "job_queue_size": properties.number("job_queue_size", default.job_queue_size),
        "max_request_size": properties.number("max_request_size", default.max_request_size, MOST_BYTES),
        "max_response_size": properties.number("max_response_size", default.max_response_size, MOST_BYTES),
        "unpack_limits": UnpackLimits(
            bytes=properties.number("max_unpacked_size", default.unpack_limits.bytes),
            files=properties.number("max_unpacked_files", default.unpack_limits.files),
        ),
        "default_workers": properties.optional_number("default_workers_per_model"),
        "default_handler": properties.text("default_service_handler"),
        "envelope": properties.text("service_envelope") or "",
        "installs_requirements": properties.flag("install_py_dep_per_model"),
        "gpus": properties.optional_number("number_of_gpu"),
        "first_worker": properties.number("initial_worker_port", default.first_worker),
        "hidden_variables": properties.pattern("blacklist_env_vars"),
        "decodes_inputs": properties.flag("decode_input_request", True),
        "limits_image_pixels": properties.flag("limit_max_image_pixels", True),
        "access": read_access(properties),
        "metrics": read_metrics(properties),
    }
    notes = [f"{place}: {note_on(key, properties.asked)}" for key, place in properties.unused().items()]
    if store and not Path(store).is_dir():
        notes.append(f"{properties.place('model_store')}: model_store names {store!r}, which is no directory: it has no models")
    return Settings(**settings, notes=tuple(notes))


def _grpc(properties: Properties, listener: str, port: int) -> str:
    return f"{properties.text(f'{listener}_address') or '127.0.0.1'}:{properties.number(f'{listener}_port', port)}"
