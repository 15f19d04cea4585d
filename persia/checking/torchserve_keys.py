"""The keys of config.properties that TorchServe 0.12 reads, and what users write in their place. It ignores all others."""

from __future__ import annotations

import difflib

__all__ = ["ADDRESSES", "BOOLEANS", "FILES", "KNOWN", "METRICS_MODES", "NUMBERS", "PER_MODEL", "advice_for"]

ADDRESSES = {
    "inference_address": "http://127.0.0.1:8080",
    "management_address": "http://127.0.0.1:8081",
    "metrics_address": "http://127.0.0.1:8082",
}
# And the least that works.
NUMBERS = {
    "default_response_timeout": 1,
    "default_startup_timeout": 1,
    "default_workers_per_model": 0,
    "grpc_inference_max_connection_age_grace_ms": 1,
    "grpc_inference_max_connection_age_ms": 1,
    "grpc_inference_port": 0,
    "grpc_management_max_connection_age_grace_ms": 1,
    "grpc_management_max_connection_age_ms": 1,
    "grpc_management_port": 0,
    "initial_distribution_port": 1,
    "initial_worker_port": 1,
    "io_ratio": 1,
    "job_queue_size": 1,
    "max_request_size": 1,
    "max_response_size": 1,
    "metric_time_interval": 1,
    "netty_client_threads": 0,
    "number_of_gpu": 0,
    "number_of_netty_threads": 0,
    "token_expiration_min": 1,
    "unregister_model_timeout": 1,
}
BOOLEANS = frozenset(
    [
        "async_logging",
        "cpu_launcher_enable",
        "debug",
        "decode_input_request",
        "disable_system_metrics",
        "disable_token_authorization",
        "enable_envvars_config",
        "enable_grpc_ssl",
        "enable_metrics_api",
        "enable_model_api",
        "install_py_dep_per_model",
        "ipex_enable",
        "ipex_gpu_enable",
        "limit_max_image_pixels",
        "model_metrics_auto_detect",
        "prefer_direct_buffer",
        "ts_open_inference_protocol",
        "use_env_allowed_urls",
        "use_native_io",
    ]
)
FILES = ("certificate_file", "keystore", "metrics_config", "private_key_file")
METRICS_MODES = ("log", "prometheus", "legacy")
_TEXTS = [
    "allowed_urls",
    "blacklist_env_vars",
    "cors_allowed_headers",
    "cors_allowed_methods",
    "cors_allowed_origin",
    "cpp_log_config",
    "cpu_launcher_args",
    "default_service_handler",
    "grpc_inference_address",
    "grpc_management_address",
    "keystore_pass",
    "keystore_type",
    "load_models",
    "metrics_mode",
    "model_server_home",
    "model_snapshot",
    "model_store",
    "models",
    "plugins_path",
    "service_envelope",
    "system_metrics_cmd",
    "ts_header_key_sequence_end",
    "ts_header_key_sequence_id",
    "ts_header_key_sequence_start",
    "version",
    "vmargs",
    "workflow_store",
]
KNOWN = frozenset((*ADDRESSES, *NUMBERS, *BOOLEANS, *FILES, *_TEXTS))

# What a model has for itself: in `models={...}`, or better in its archive's model-config.yaml. True: a number.
PER_MODEL = {
    "batchSize": True,
    "defaultVersion": False,
    "deviceIds": False,
    "deviceType": False,
    "jobQueueSize": True,
    "marName": False,
    "maxBatchDelay": True,
    "maxWorkers": True,
    "minWorkers": True,
    "parallelLevel": True,
    "parallelType": False,
    "responseTimeout": True,
    "runtimeType": False,
    "startupTimeout": True,
}
_OPTIONS = {"batchSize": "--batch-size", "maxBatchDelay": "--max-batch-delay", "responseTimeout": "--response-timeout"}
_OF_MODEL = {name.lower(): name for name in PER_MODEL} | {"initialworkers": "minWorkers"}
_MEANT = {"response_timeout": "default_response_timeout", "startup_timeout": "default_startup_timeout"}
_NEAR = 0.75


def advice_for(key: str) -> str:
    """What to write instead of a key that TorchServe does not have."""
    plain = key.lower().replace("_", "").replace("-", "")
    if key.lower() in _MEANT:
        return f"write {_MEANT[key.lower()]}, or the model's own in its model-config.yaml"
    if plain in _OF_MODEL:
        name = _OF_MODEL[plain]
        option = f", which `persia-launcher archive {_OPTIONS[name]}` writes" if name in _OPTIONS else ""
        return f"it is of each model: {name} in the archive's model-config.yaml{option}, or in models={{...}} here"
    near = [known for known in KNOWN if known.replace("_", "") == plain] or difflib.get_close_matches(key, KNOWN, 1, _NEAR)
    if near:
        return f"write {near[0]}"
    return "take it out, or look it up: TorchServe says nothing of keys that it does not have"
