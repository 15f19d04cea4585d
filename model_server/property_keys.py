"""The keys of config.properties that the model server does not use, each with the reason that its log gives."""

from __future__ import annotations

import difflib
from collections.abc import Collection

__all__ = ["UNUSED", "note_on"]

_JAVA = "it is a setting of TorchServe's Java, and there is no Java here"
_ONE_FILE = "workers inherit the environment and the limits of the server: say it where the server is started"
_NO_AGE = "connections stay for as long as their clients want them, and idle ones go when others need room"

UNUSED: dict[str, str] = {
    "async_logging": "the server's log is written at once, and to its standard error",
    "cpp_log_config": "there is no C++ backend: handlers are Python",
    "cpu_launcher_args": f"workers are not pinned to processors; {_ONE_FILE}, for instance under `taskset` or `numactl`",
    "cpu_launcher_enable": f"workers are not pinned to processors; {_ONE_FILE}, for instance under `taskset` or `numactl`",
    "grpc_inference_max_connection_age_grace_ms": _NO_AGE,
    "grpc_inference_max_connection_age_ms": _NO_AGE,
    "grpc_management_max_connection_age_grace_ms": _NO_AGE,
    "grpc_management_max_connection_age_ms": _NO_AGE,
    "initial_distribution_port": "workers are not started by torchrun, so they need no ports of their own",
    "io_ratio": _JAVA,
    "ipex_enable": "the handler itself imports and applies Intel's extension of PyTorch",
    "ipex_gpu_enable": "the handler itself imports and applies Intel's extension of PyTorch",
    "model_server_home": "the server is where its Python package is installed",
    "netty_client_threads": _JAVA,
    "number_of_netty_threads": _JAVA,
    "plugins_path": "plugins of TorchServe are Java: a handler, or a proxy before the server, can do their work",
    "prefer_direct_buffer": _JAVA,
    "system_metrics_cmd": "the server looks at the machine itself",
    "ts_header_key_sequence_end": "models with sequences (`sequenceBatching`) are not served",
    "ts_header_key_sequence_id": "models with sequences (`sequenceBatching`) are not served",
    "ts_header_key_sequence_start": "models with sequences (`sequenceBatching`) are not served",
    "ts_open_inference_protocol": "the Open Inference Protocol is always served, as the standard has it",
    "use_native_io": _JAVA,
    "version": "it is noted by TorchServe's snapshots, and means nothing",
    "vmargs": _JAVA,
    "workflow_store": "workflows (.war) are not served: call one handler from the other, or both from the client",
}


def note_on(key: str, used: Collection[str]) -> str:
    """What the log says of a key that is not used, where others are."""
    if key in UNUSED:
        return f"{key} has no effect: {UNUSED[key]}"
    near = difflib.get_close_matches(key, [*used, *UNUSED], 1, 0.75)
    advice = f"did you mean {near[0]}?" if near else "take it out of the file"
    return f"{key} is no key of config.properties: {advice}"
