"""A user's config.properties -> options of `persia-launcher torchserve`, and what its own config.properties takes over."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persia.checking.report import Report
from persia.checking.torchserve_config import check_torchserve_config
from persia.checking.torchserve_keys import KNOWN
from persia.errors import InvalidInput

__all__ = ["UserConfig", "read_user_config"]

_MIB = 1 << 20
_LOOPBACK = ("127.0.0.1", "localhost")
_ADDRESS = re.compile(r"http://([^:/]+)(?::([0-9]+))?")
_HEAP = re.compile(r"-Xmx(\w+)")

# What TorchServe reads and the launcher has no opinion of.
_TAKEN_OVER = frozenset(
    [
        *("async_logging", "blacklist_env_vars", "cors_allowed_headers", "cors_allowed_methods", "cors_allowed_origin"),
        *("cpu_launcher_args", "cpu_launcher_enable", "decode_input_request", "default_response_timeout"),
        *("default_service_handler", "default_startup_timeout", "default_workers_per_model"),
        *("grpc_inference_max_connection_age_grace_ms", "grpc_inference_max_connection_age_ms"),
        *("grpc_management_max_connection_age_grace_ms", "grpc_management_max_connection_age_ms"),
        *("install_py_dep_per_model", "io_ratio", "ipex_enable", "ipex_gpu_enable", "limit_max_image_pixels", "models"),
        *("netty_client_threads", "number_of_gpu", "number_of_netty_threads", "prefer_direct_buffer", "service_envelope"),
        *("ts_header_key_sequence_end", "ts_header_key_sequence_id", "ts_header_key_sequence_start"),
        *("ts_open_inference_protocol", "unregister_model_timeout", "use_native_io"),
    ]
)
_SIZES = ("max_request_size", "max_response_size")  # one limit here
_TLS = ("certificate_file", "keystore", "private_key_file", "enable_grpc_ssl")


@dataclass(frozen=True)
class UserConfig:
    """options: by the names of the command's parameters. properties: for TorchServe as they are. notes: for the log."""

    options: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_user_config(path: Path) -> UserConfig:
    """Raises InvalidInput with all that TorchServe would end with, and for what cannot be had here."""
    report = Report()
    values = {key: value for key, value in check_torchserve_config(report, path).items() if value.strip()}
    if report.count("fail"):
        raise InvalidInput("\n".join([f"{path} cannot be used:", *report.lines(problems_only=True)]))
    if tls := [key for key in _TLS if key in values and values[key].lower() != "false"]:
        raise InvalidInput(
            f"{path}: expected no {tls[0]}, as `persia-launcher torchserve` serves without TLS: put a proxy before it that has "
            "the key"
        )
    notes = [f"{finding.subject}: {finding.text}: {finding.advice}" for finding in report.findings if finding.state == "warn"]
    options: dict[str, Any] = {}
    for key, take in _OPTIONS.items():
        if key in values:
            said = take(values[key])
            if "host" in said and said["host"] != options.get("host", said["host"]):
                raise InvalidInput(f"{path}: expected one host for HTTP and gRPC, got {said['host']} and {options['host']}")
            options |= said
    sizes = [int(values[key]) for key in _SIZES if key in values]
    if sizes:
        options["max_message_mib"] = -(-max(sizes) // _MIB)
    for key in (values.keys() & KNOWN) - {*_OPTIONS, *_TAKEN_OVER, *_SIZES}:
        notes.append(f"{key} is the launcher's own affair, and is not taken from {path.name}")
    return UserConfig(options, {key: values[key] for key in values if key in _TAKEN_OVER}, tuple(sorted(notes)))


def _inference_address(value: str) -> dict[str, Any]:
    host, port = _host_and_port("inference_address", value)
    return {"host": host, "http_port": port}


def _management_address(value: str) -> dict[str, Any]:
    host, port = _host_and_port("management_address", value)
    if host not in _LOOPBACK:
        raise InvalidInput(
            f"management_address: expected http://127.0.0.1:{port}, got {value}: who reaches management can run code, so it is "
            "on this machine alone"
        )
    return {"http_management_port": port}


def _host_and_port(key: str, value: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(value)
    if match is None:
        raise InvalidInput(f"{key}: expected http://HOST:PORT, got {value}: the launcher opens neither sockets nor TLS for it")
    return match[1], int(match[2] or 80)


def _heap(value: str) -> dict[str, Any]:
    match = _HEAP.fullmatch(value.strip())
    if match is None:
        raise InvalidInput(f"vmargs: expected -Xmx and a size alone, such as -Xmx4g, got {value}: the launcher says all else")
    return {"heap": match[1]}


# What is an option of the command, by the key that says it.
_OPTIONS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "grpc_inference_address": lambda value: {"host": value},
    "inference_address": _inference_address,
    "management_address": _management_address,
    "grpc_inference_port": lambda value: {"port": int(value)},
    "grpc_management_port": lambda value: {"management_port": int(value)},
    "model_store": lambda value: {"model_store": value},
    "load_models": lambda value: {"models": [] if value == "none" else [value]},
    "job_queue_size": lambda value: {"queue": int(value)},
    "disable_token_authorization": lambda value: {"tokens": value.lower() != "true"},
    "enable_model_api": lambda value: {"model_api": value.lower() == "true"},
    "vmargs": _heap,
}
