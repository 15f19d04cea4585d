"""The memory that servers on this machine will need, against what the machine and its cgroups leave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persia import _core
from persia.checking.report import Report
from persia.checking.scan import Scan
from persia.checking.subject import Subject, is_local
from persia.torchserve.archive.contents import Contents

__all__ = ["Room", "check_capacity", "check_memory", "judge_memory", "room_of", "table_bytes"]

# Measured on Linux with CPython 3.11 and torch 2: what a process takes before it holds anything of a model.
SERVER_BYTES = 64 << 20
WORKER_BYTES = 320 << 20
JVM_BYTES = 512 << 20  # of TorchServe's front end; its heap may grow beyond that with large requests
_TIGHT = 0.8
_NO_LIMIT = 1 << 60  # cgroup v1 writes a number near 2^63 where there is no limit


@dataclass(frozen=True)
class Room:
    """Bytes that are left. `limited_by` names the tightest: the machine, or a cgroup."""

    bytes: int
    limited_by: str


def check_memory(report: Report, subject: Subject, scan: Scan | None, archives: Sequence[Contents]) -> None:
    """One line: what all processes on this machine need, and what there is."""
    local = sum(is_local(address) for replicas in subject.servers for address in replicas)
    tables = table_bytes(subject, scan) * local if scan is not None else 0
    workers = sum(archive.workers for archive in archives)
    models = sum(archive.workers * (archive.model_bytes + WORKER_BYTES) for archive in archives)
    need = tables + local * SERVER_BYTES + models + (JVM_BYTES if archives else 0)
    parts = [f"{local} embedding servers {_gib(tables + local * SERVER_BYTES)}"] if local else []
    if archives:
        parts.append(f"TorchServe with {workers} workers {_gib(models + JVM_BYTES)}")
    if parts:
        judge_memory(report, need, room_of(Path("/proc"), Path("/sys/fs/cgroup")), " and ".join(parts))


def table_bytes(subject: Subject, scan: Scan) -> int:
    """What the table of one server takes, as the native table counts it."""
    server = subject.global_config.embedding_parameter_server_config if subject.global_config else None
    storage = server.row_storage if server else "f32"
    seen = sum(count.rows for count in scan.counts.values())
    if not seen:
        return 0
    by_row = sum(count.rows * _core.bytes_per_row(storage, dim) for (_, dim), count in scan.counts.items()) / seen
    rows = scan.total / len(subject.servers)
    if server and server.capacity is not None:
        rows = min(rows, server.capacity)
    return round(rows * by_row)


def judge_memory(report: Report, need: int, room: Room | None, parts: str) -> None:
    """FAIL if more is needed than there is, WARN if little is left."""
    if room is None:
        report.warn("machine", "memory", f"about {_gib(need)} needed ({parts}); what there is cannot be read", "look yourself")
        return
    text = f"about {_gib(need)} needed ({parts}), {_gib(room.bytes)} available ({room.limited_by})"
    figures = {"needed": need, "available": room.bytes}
    if need > room.bytes:
        advice = "take row_storage f16, int8 or uint8, a capacity, more machines, or a larger limit: processes would be killed"
        report.fail("machine", "memory", text, advice, **figures)
    elif need > room.bytes * _TIGHT:
        advice = "more than 80 % would be in use, and packets and requests need some, too: row_storage f16 halves the tables"
        report.warn("machine", "memory", text, advice, **figures)
    else:
        report.ok("machine", "memory", text, **figures)


def check_capacity(report: Report, subject: Subject, scan: Scan) -> None:
    """Rows over the capacity are left out when a server loads: lookups of them give zeros."""
    server = subject.global_config.embedding_parameter_server_config if subject.global_config else None
    rows = scan.total // len(subject.servers)
    if server is None or server.capacity is None or rows <= server.capacity:
        return
    text = f"about {rows - server.capacity:,} of {rows:,} rows of a server are over its capacity of {server.capacity:,}"
    advice = "raise capacity, or start more servers: the least recently used rows are left out, and count as zeros"
    report.warn("rows", "capacity", text, advice, rows=rows, capacity=server.capacity)


def room_of(proc: Path, cgroups: Path) -> Room | None:
    """What is available to this process by /proc/meminfo and by every cgroup above it, of version 1 and 2."""
    rooms = []
    try:
        lines = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines() if ":" in line)
        rooms.append(Room(int(lines["MemAvailable"].split()[0]) * 1024, "this machine"))
        mine = (proc / "self" / "cgroup").read_text().splitlines()
    except (OSError, KeyError, ValueError):
        mine = []
    for line in mine:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            rooms += _above(cgroups, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            rooms += _above(cgroups / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return min(rooms, key=lambda room: room.bytes, default=None)


def _above(root: Path, path: str, limit: str, usage: str, cache: str) -> list[Room]:
    """Of a cgroup and all that it lies in. In a container its path is often that of the host, and the root is its own."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    rooms = []
    for count in range(len(parts), -1, -1):
        directory = root.joinpath(*parts[:count])
        try:
            most = int((directory / limit).read_text())  # `max` is no number: no limit
            used = int((directory / usage).read_text())
            stat = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if most < _NO_LIMIT:
            # Pages of files that were not used lately give way to whatever needs memory.
            rooms.append(Room(max(most - used + int(stat.get(cache, 0)), 0), f"cgroup limit of {_gib(most)}"))
    return rooms


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
