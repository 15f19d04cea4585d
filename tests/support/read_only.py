"""A process as in a container of the chart: nobody's user, nothing writable but /tmp, and only the variables of the pod."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

USER = "65532"
# Where the directories of a test lie, which are in the real /tmp that the process does not see.
MOUNTED = "/mnt"
_ALONE = ("unshare", "--mount", "--propagation", "private")
# It may read all, because the interpreter of a test may be root's, and write only what its user may.
_READS = "-all,+dac_read_search"
_CAPABILITIES = ("--bounding-set", _READS, "--inh-caps", _READS, "--ambient-caps", _READS)
_NOBODY = ("setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--no-new-privs", *_CAPABILITIES)


def needs_namespaces() -> None:
    """Skips a test where file systems cannot be mounted for one process alone."""
    python = shlex.join([*_NOBODY, sys.executable, "-c", ""])
    command = [*_ALONE, "sh", "-e", "-c", f"mount -o remount,bind,ro /; exec {python}"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"needs root, as which this works: {shlex.join(command)}")


def in_read_only(command: list[str], variables: Mapping[str, str], tmp: Path, mounted: Mapping[str, Path]) -> list[str]:
    """The command line. tmp: what /tmp is. mounted: directories by the names that they have below MOUNTED."""
    tmp.mkdir(mode=0o777)
    tmp.chmod(0o777)
    steps = [f"mount -t tmpfs tmpfs {MOUNTED}"]
    for name, path in mounted.items():
        place = f"{MOUNTED}/{name}"
        steps += [f"mkdir {place}", f"mount --bind {shlex.quote(str(path))} {place}", f"mount -o remount,bind,ro {place}"]
    steps += [f"mount -o remount,ro {MOUNTED}", f"mount --bind {shlex.quote(str(tmp))} /tmp"]
    steps += ["mount -o remount,bind,ro /", "cd /tmp"]
    alone = ["env", "--ignore-environment", *(f"{name}={value}" for name, value in variables.items()), *command]
    return [*_ALONE, "sh", "-e", "-c", "\n".join([*steps, f"exec {shlex.join([*_NOBODY, *alone])}"])]
