"""How busy and how full the machine is, under our names and under TorchServe's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .prometheus_text import Family, Sample, torchserve_family

__all__ = ["SystemMetrics"]

_MEGABYTE = 1 << 20
_GIGABYTE = 1 << 30
_OF_GPUS = (("GPUMemoryUtilization", "Percent"), ("GPUMemoryUsed", "Megabytes"), ("GPUUtilization", "Percent"))


class SystemMetrics:
    """For one thread at a time."""

    def __init__(self, hostname: str) -> None:
        self._labels = {"Level": "Host", "Hostname": hostname}
        self._last = _processor_times()

    def families(self, torchserve: bool) -> list[Family]:
        """torchserve: under TorchServe's names and in its units as well."""
        memory, disk, busy = _memory(), shutil.disk_usage("/"), self._processors()
        own = (
            ("persia_host_processors_busy_ratio", "The share of time in which processors worked, of late.", busy),
            ("persia_host_memory_used_bytes", "Memory that is in use.", memory["MemTotal"] - memory["MemAvailable"]),
            ("persia_host_memory_available_bytes", "Memory that programs can have.", memory["MemAvailable"]),
            ("persia_host_disk_used_bytes", "What the disk of / has.", disk.used),
            ("persia_host_disk_available_bytes", "What the disk of / has room for.", disk.free),
        )
        families = [Family(name, words, "gauge", [Sample({}, value)]) for name, words, value in own]
        if not torchserve:
            return families
        figures = _torchserve_figures(memory, disk, busy)
        return [
            *families,
            *(torchserve_family(name, "gauge", unit, [Sample(self._labels, value)]) for name, unit, value in figures),
            *(torchserve_family(name, "gauge", unit, []) for name, unit in _OF_GPUS),  # none is measured
        ]

    def figures(self) -> list[tuple[str, str, float]]:
        """Names, units and values, as TorchServe has them."""
        return _torchserve_figures(_memory(), shutil.disk_usage("/"), self._processors())

    def _processors(self) -> float:
        """The share of time in which they were at work, since the last look."""
        before, self._last = self._last, _processor_times()
        idle, whole = (now - then for now, then in zip(self._last, before, strict=True))
        return (whole - idle) / whole if whole else 0.0


def _torchserve_figures(memory: dict[str, int], disk: Any, busy: float) -> list[tuple[str, str, float]]:
    total, available = memory["MemTotal"], memory["MemAvailable"]
    return [
        ("CPUUtilization", "Percent", 100 * busy),
        ("MemoryUsed", "Megabytes", (total - available) / _MEGABYTE),
        ("MemoryAvailable", "Megabytes", available / _MEGABYTE),
        ("MemoryUtilization", "Percent", 100 * (total - available) / total),
        ("DiskUsage", "Gigabytes", disk.used / _GIGABYTE),
        ("DiskUtilization", "Percent", 100 * disk.used / disk.total),
        ("DiskAvailable", "Gigabytes", disk.free / _GIGABYTE),
    ]


def _processor_times() -> tuple[int, int]:
    """Idle, and of all kinds."""
    times = [int(part) for part in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return times[3] + times[4], sum(times[:8])


def _memory() -> dict[str, int]:
    """In bytes."""
    lines = (line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return {name: int(rest.split()[0]) << 10 for name, _, rest in lines}
