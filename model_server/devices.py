"""Which GPU each worker gets: the next one in turn, of the model's own list or of all."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator

__all__ = ["Devices", "count_gpus", "gpu_usage"]

_SECONDS = 10.0  # that nvidia-smi may take


class Devices:
    """Thread safety: any thread may use it."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self._lock = threading.Lock()
        self._of_all = itertools.cycle(range(max(1, gpus)))
        self._of_lists: dict[tuple[int, ...], Iterator[int]] = {}

    def next(self, device_type: str, device_ids: tuple[int, ...]) -> int | None:
        """The GPU of a worker that starts; None: it works on the processor. device_ids: empty: all GPUs in turn."""
        if device_type != "gpu" or not self.gpus:
            return None
        with self._lock:
            if not device_ids:
                return next(self._of_all)
            return next(self._of_lists.setdefault(device_ids, itertools.cycle(device_ids)))


def count_gpus() -> int:
    """Of this machine, as far as NVIDIA's tool knows; those that CUDA_VISIBLE_DEVICES names are all that count."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([part for part in visible.split(",") if part.strip() not in ("", "-1")])
    return len([line for line in _ask_nvidia("-L").splitlines() if line.startswith("GPU ")])


def gpu_usage(gpu: int | None) -> str:
    """What a worker's description says of its GPU."""
    if gpu is None:
        return "N/A"
    query = "utilization.gpu,utilization.memory,memory.used"
    answer = _ask_nvidia("-i", str(gpu), f"--query-gpu={query}", "--format=csv,noheader").strip()
    values = [part.strip() for part in answer.split(",")]
    if len(values) != len(query.split(",")):
        return "failed to obtained gpu usage"  # TorchServe's words
    usage = " ".join(f"{name}::{value}" for name, value in zip(query.split(","), values, strict=True))
    return f"gpuId::{gpu} {usage}"


def _ask_nvidia(*arguments: str) -> str:
    """What nvidia-smi says; nothing where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
