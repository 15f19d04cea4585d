"""Where Prometheus finds the metrics of a deployment's processes: the same ports in all of their lives, and their list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from persia.errors import InvalidInput
from persia.system.durable import write_file

__all__ = ["TARGETS_FILE", "metrics_ports", "write_targets"]

TARGETS_FILE = "targets.json"
_MOST_PORT = 65_535
_PROCESS = "process"


def metrics_ports(
    names: Sequence[str], base: int | None, state: Path, free: Callable[[int], list[int]], is_free: Callable[[int], bool]
) -> dict[str, int]:
    """Name of a process: port. From `base` on; else those of the last time, by the targets that were written, or free ones.

    free: finds so many ports. is_free: whether a port of the last time can still be had. Raises InvalidInput.
    """
    if base is not None:
        if base + len(names) - 1 > _MOST_PORT:
            raise InvalidInput(f"expected a --metrics-port-base with {len(names)} ports from it on, got {base}")
        return {name: base + number for number, name in enumerate(names)}
    kept = {name: port for name, port in _last(state / TARGETS_FILE).items() if name in names and is_free(port)}
    others = [name for name in names if name not in kept]
    # What is found may be one that is kept, as nobody listens there yet.
    found = [port for port in free(len(names) + len(others)) if port not in kept.values()]
    return {**kept, **dict(zip(others, found, strict=False))}


def write_targets(state: Path, addresses: Mapping[str, str], labels: Mapping[str, Mapping[str, str]]) -> Path:
    """For `file_sd_configs` of Prometheus, which reads it again when it changes. Whole at any time. Raises OSError."""
    entries = [
        {"targets": [address], "labels": {_PROCESS: name, **labels.get(name, {})}} for name, address in addresses.items()
    ]
    path = state / TARGETS_FILE
    write_file(path, msgspec.json.format(msgspec.json.encode(entries), indent=2) + b"\n")
    return path


def _last(path: Path) -> dict[str, int]:
    """None of what cannot be understood: then there are other ports."""
    found: dict[str, int] = {}
    with suppress(OSError, msgspec.MsgspecError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        entries: Any = msgspec.json.decode(path.read_bytes())
        for entry in entries:
            port = int(str(entry["targets"][0]).rpartition(":")[2])
            if 0 < port <= _MOST_PORT and port not in found.values():
                found[str(entry["labels"][_PROCESS])] = port
    return found
