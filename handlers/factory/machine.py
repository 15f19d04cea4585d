"""The device that a model runs on, and how much of its memory it may use."""

from __future__ import annotations

import logging
import resource
from pathlib import Path
from typing import Any

import torch

__all__ = ["device_of", "limit_gpu_memory", "limit_memory"]

log = logging.getLogger(__name__)


def device_of(gpu_id: Any, wanted: Any) -> torch.device:
    """The GPU that TorchServe gives a worker, or the CPU where there is none.

    wanted: `deviceType` of the model-config.
    """
    if gpu_id is not None and torch.cuda.is_available():
        return torch.device(f"cuda:{gpu_id}")
    if gpu_id is not None or wanted == "gpu":
        why = "torch finds no GPU here" if not torch.cuda.is_available() else "TorchServe gave this worker none"
        log.warning("the model runs on the CPU: its deviceType is gpu, but %s", why)
    return torch.device("cpu")


def limit_gpu_memory(megabytes: int, device: torch.device) -> None:
    """Beyond the limit an allocation on this GPU fails, as if the GPU was full. On the CPU nothing is limited."""
    if device.type != "cuda":
        log.warning("system.maxGPUMemory is %d MB, but the model runs on the CPU, which system.maxMemory limits", megabytes)
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (megabytes << 20) / total), device)


def limit_memory(megabytes: int) -> None:
    """Beyond what this process has now. An allocation that goes above fails, in the request that asked for it.

    RLIMIT_DATA counts what is allocated, unlike RLIMIT_AS, in which every file and library counts that is mapped.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _allocated() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _allocated() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmData:"))
    return int(kilobytes) << 10
