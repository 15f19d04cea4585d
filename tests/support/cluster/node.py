"""A machine of the cluster: a containerd and a kubelet."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.cluster.disks import FOLDER
from tests.support.cluster.machines import PODS, SWITCH_ADDRESS, Machine
from tests.support.cluster.pause import PAUSE
from tests.support.servers import wait_until

CONTAINERD = "/run/containerd.sock"
PLUGINS = "/usr/lib/cni"
CGROUP = "persia-cluster"  # and the machine's number


def network_config(machine: Machine) -> str:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": f"{PODS}.{machine.number}.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/pod-addresses",
    }
    bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "ipMasq": False, "ipam": addresses}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]})


def containerd_config(machine: Machine) -> str:
    # restrict_oom_score_adj: not every kernel lets root make a process less likely to be killed.
    disk = machine.directory
    return f"""\
version = 2
root = "{disk / FOLDER}"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{PLUGINS}"
  conf_dir = "{disk}/network"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.internal.v1.opt"]
  path = "{disk}/opt"
"""


def kubelet_config(machine: Machine) -> str:
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": machine.address,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}-{machine.number}",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "clusterDNS": [SWITCH_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        "failSwapOn": False,
        "oomScoreAdj": 0,
        # All machines have one disk and one memory, and an eviction is not what is tested.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageMinimumGCAge": "24h",
    }
    return json.dumps(settings)


def start_node(machine: Machine, binaries: Path, kubeconfig: Path) -> None:
    """Returns before it is ready. REQUIRES: the machine is at the switch, and has the images on its disk."""
    machine.configure()
    disk = machine.directory
    (disk / "network").mkdir(exist_ok=True)
    (disk / "network" / "pods.conflist").write_text(network_config(machine))
    (disk / "containerd.toml").write_text(containerd_config(machine))
    (disk / "kubelet.json").write_text(kubelet_config(machine))
    machine.start("containerd", "--config", str(disk / "containerd.toml"))
    wait_until(lambda: _answers(machine), "containerd answers")
    machine.start(
        str(binaries / "kubelet"),
        f"--kubeconfig={kubeconfig}",
        f"--config={disk / 'kubelet.json'}",
        f"--root-dir={disk / 'kubelet'}",
        f"--cert-dir={disk / 'certificates'}",
        "--container-runtime=remote",
        f"--container-runtime-endpoint=unix://{CONTAINERD}",
        f"--hostname-override={machine.name}",
        f"--node-ip={machine.address}",
        f"--node-labels=topology.kubernetes.io/zone=zone-{machine.number}",
    )


def kill_container(machine: Machine, container: str) -> None:
    """SIGKILL for its first process. container: as a pod's status names it, `containerd://ID`."""
    name = container.rpartition("/")[2]
    machine.run("ctr", "--address", CONTAINERD, "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", name)


def _answers(machine: Machine) -> bool:
    try:
        machine.run("ctr", "--address", CONTAINERD, "version")
    except AssertionError:
        return False
    return True


def remove_cgroups() -> None:
    """What the containers of lost machines leave in the one thing that namespaces do not hide."""
    for kind in Path("/sys/fs/cgroup").iterdir():
        for root in kind.glob(f"{CGROUP}-*"):
            for directory in sorted(root.rglob("*/"), reverse=True):
                directory.rmdir()
            root.rmdir()
