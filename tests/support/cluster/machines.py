"""Machines of network, mount and process namespaces, and the switch between them, which is in the caller's namespace.

Namespaces have no names here: they go when their processes go, and these go when the caller does. So nothing is left behind,
however the caller ends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

BRIDGE = "switch"
NETWORK = "10.77.0"
SWITCH_ADDRESS = f"{NETWORK}.1"  # the caller is a machine at the switch, too
PODS = "10.78"  # and the machine's number: the pods of a machine


def run(*command: str, entering: Sequence[str] = ()) -> str:
    """What the command prints. Raises AssertionError with all that it said if it fails."""
    done = subprocess.run([*entering, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}"
    return done.stdout


class Switch:
    """A bridge with an address of its own. REQUIRES: the caller has a network namespace of its own."""

    def __init__(self) -> None:
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{SWITCH_ADDRESS}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")

    def connect(self, machine: Machine) -> None:
        """Puts a cable between the machine and the switch, and a route to the machine's pods here."""
        with suppress(AssertionError):  # the cable of a machine that was lost goes with its namespace, some time later
            run("ip", "link", "delete", machine.port)
        run("ip", "link", "add", machine.port, "type", "veth", "peer", "name", "eth0", "netns", str(machine.process.pid))
        run("ip", "link", "set", machine.port, "master", BRIDGE, "up")
        run("ip", "route", "replace", machine.pods, "via", machine.address)

    def pull(self, machine: Machine) -> None:
        run("ip", "link", "set", machine.port, "down")


class Machine:
    """One that runs from its construction until lose(); its files stay, so that another one can be the same again."""

    def __init__(self, number: int, count: int, directory: Path) -> None:
        """number: from 1 to count. directory: for its disk."""
        self.number, self.directory = number, directory
        self.name, self.port = f"machine-{number}", f"port-{number}"
        self.address, self.pods = f"{NETWORK}.{10 + number}", f"{PODS}.{number}.0/24"
        self._others = [other for other in range(1, count + 1) if other != number]
        directory.mkdir(parents=True, exist_ok=True)
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        command += ["--mount-proc", sys.executable, "-S", str(reaper_path())]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        namespaces = f"/proc/{self.process.pid}/ns"
        kinds = {"net": "net", "mount": "mnt", "pid": "pid_for_children"}
        self._entering = ["nsenter", *(f"--{kind}={namespaces}/{file}" for kind, file in kinds.items()), "--"]

    def configure(self) -> None:
        """Gives it its addresses and routes. REQUIRES: it is at the switch."""
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", "default", "via", SWITCH_ADDRESS)
        for other in self._others:
            self.run("ip", "route", "add", f"{PODS}.{other}.0/24", "via", f"{NETWORK}.{10 + other}")
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.run("mount", "-t", "tmpfs", "tmpfs", "/run")

    def run(self, *command: str) -> str:
        return run(*command, entering=self._entering)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """A process of it that goes on; what it says is in a file of the machine's directory."""
        with (self.directory / f"{Path(command[0]).name}.log").open("ab") as log:
            return subprocess.Popen([*self._entering, *command], stdout=log, stderr=log, start_new_session=True)

    def lose(self) -> None:
        """Ends all of its processes at once, without a word to anybody."""
        self.process.kill()
        self.process.wait()


def reaper_path() -> Path:
    return Path(__file__).with_name("reaper.py")
