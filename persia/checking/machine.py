"""The machine: ports, Java, versions, processors and disk."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from persia.checking.report import Report
from persia.checking.scan import processors
from persia.checking.subject import Subject, is_local
from persia.errors import NotFound
from persia.system.address import is_free
from persia.system.java import find_java

__all__ = ["check_machine", "check_ports"]

_STATE_BYTES = 1 << 30  # logs, sockets and temporary files
_NAMES = ("persia-serve", "numpy", "grpcio", "torch", "torchserve")
_CLOCK = 1_700_000_000  # November 2023: a clock that says less was never set


def check_ports(report: Report, subject: Subject, others: Mapping[str, str], must_be_free: bool) -> None:
    """Whether the addresses of this machine can be listened on. `others`: name -> host:port, beside the servers."""
    addresses = {f"embedding server {address}": address for replicas in subject.servers for address in replicas if address}
    addresses |= {f"{name} {address}": address for name, address in others.items()}
    local = {name: address for name, address in addresses.items() if is_local(address) and not address.endswith(":0")}
    taken = [name for name, address in local.items() if not is_free(address)]
    if taken:
        say = report.fail if must_be_free else report.warn
        advice = "an older process, or another program, listens there: stop it, or choose other ports"
        say("machine", "ports", f"{len(taken)} of {len(local)} are taken: {', '.join(taken)}", advice, taken=len(taken))
    elif local:
        report.ok("machine", "ports", f"all {len(local)} of this machine are free", free=len(local))


def check_machine(report: Report, state: Path, with_torchserve: bool) -> None:
    """Java and packages that TorchServe needs, and what every process does."""
    versions = {name: _version(name) for name in _NAMES}
    text = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    text = f"Python {platform.python_version()}, {text}; {processors()} processors"
    report.ok("machine", "versions", text, processors=processors(), **{name: found for name, found in versions.items()})
    if with_torchserve:
        _check_torchserve(report)
    free = shutil.disk_usage(_existing(state)).free
    text = f"{free / 2**30:.1f} GiB free for logs and temporary files in {state}"
    if free < _STATE_BYTES:
        report.warn("machine", "disk", text, "make room, or choose another --state", free=free)
    else:
        report.ok("machine", "disk", text, free=free)
    if time.time() < _CLOCK:
        advice = "set it (NTP): packets and deadlines count by it"
        report.fail("machine", "clock", f"this machine's clock says {time.strftime('%Y-%m-%d')}", advice)


def _check_torchserve(report: Report) -> None:
    try:
        report.ok("machine", "Java", find_java())
    except NotFound as error:
        report.fail("machine", "Java", str(error), "TorchServe runs on Java: install one, or set JAVA_HOME")
    # Without an import: each takes seconds.
    missing = [name for name, module in (("torch", "torch"), ("torchserve", "ts")) if importlib.util.find_spec(module) is None]
    if missing:
        advice = "pip install 'persia-serve[torchserve]'"
        report.fail("machine", "TorchServe", f"{' and '.join(missing)} is not installed", advice)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that there is."""
    path = Path(os.path.abspath(path))
    return path if path.exists() else _existing(path.parent)
