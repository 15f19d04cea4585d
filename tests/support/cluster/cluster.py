"""A cluster of three machines: started, its machines lost and started again, and ended with whoever started it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cluster import api
from tests.support.cluster.control_plane import START_SECONDS, control_plane
from tests.support.cluster.disks import Template
from tests.support.cluster.machines import SWITCH_ADDRESS, Machine, Switch, run
from tests.support.cluster.node import remove_cgroups, start_node
from tests.support.servers import wait_until

MACHINES = 3


class Cluster:
    """REQUIRES: the caller is the first process of its own network, mount and process namespaces."""

    def __init__(self, binaries: Path, directory: Path, template: Template) -> None:
        self.kubeconfig = directory / "kubeconfig"
        self.machines: dict[str, Machine] = {}
        self._lost: list[str] = []
        self._binaries, self._directory, self._template = binaries, directory, template
        self._switch = Switch()
        resolver = directory / "resolv.conf"
        resolver.write_text(f"nameserver {SWITCH_ADDRESS}\n")
        run("mount", "--bind", str(resolver), "/etc/resolv.conf")  # which is what the machines see, too
        run("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def start(self) -> None:
        """The control plane has to be there."""
        for number in range(1, MACHINES + 1):
            disk = self._directory / f"machine-{number}"
            disk.mkdir()
            self._template.copy_to(disk)
            self._start(number)
        api.wait_for(lambda: self.machines.keys() <= api.ready_nodes(), "all machines are ready", START_SECONDS)

    def _start(self, number: int) -> None:
        machine = Machine(number, MACHINES, self._directory / f"machine-{number}")
        self.machines[machine.name] = machine
        self._switch.connect(machine)
        start_node(machine, self._binaries, self.kubeconfig)

    def lose(self, name: str) -> None:
        """The cable first: whoever talks with the machine hears nothing of its end."""
        self._switch.pull(self.machines[name])
        self.machines[name].lose()
        self._lost.append(name)

    def bring_back(self) -> None:
        """Starts the machines that are lost, as after a loss of power. Returns when they are ready."""
        for name in self._lost:
            self._start(self.machines[name].number)
        api.wait_for(lambda: set(self._lost) <= api.ready_nodes(), f"{self._lost} are ready again", START_SECONDS)
        self._lost.clear()

    def end(self) -> None:
        for machine in self.machines.values():
            machine.lose()


@contextmanager
def running_cluster(binaries: Path, directory: Path, images: list[Path], templates: Path) -> Iterator[Cluster]:
    """Files and logs of an earlier one go; those of this one stay. templates: where images stay, as machines have them."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    remove_cgroups()
    template = Template(templates)
    template.fill(images)
    began = time.monotonic()
    cluster = Cluster(binaries, directory, template)
    with control_plane(binaries, directory):
        print(f"the API server is ready after {time.monotonic() - began:.0f} s", flush=True)
        try:
            cluster.start()
            print(f"{MACHINES} machines are ready after {time.monotonic() - began:.0f} s", flush=True)
            yield cluster
        finally:
            cluster.end()
            wait_until(_no_cgroups, "the containers have ended")


def _no_cgroups() -> bool:
    try:
        remove_cgroups()
    except OSError:  # processes are in it still
        return False
    return True
