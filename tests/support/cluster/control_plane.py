"""etcd, the API server, the controllers, the scheduler and the DNS, on the machine of the switch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.cluster import api
from tests.support.cluster.machines import SWITCH_ADDRESS, run

START_SECONDS = 300.0  # on a machine that has much else to do

_ETCD = f"http://{SWITCH_ADDRESS}:2379"
_PEERS = f"http://{SWITCH_ADDRESS}:2380"


def programs(binaries: Path, directory: Path) -> dict[str, list[str]]:
    """The command lines by their names. Kubernetes' own waiting times and graces are as it comes."""
    key, kubeconfig = str(directory / "accounts.key"), str(directory / "kubeconfig")
    as_client = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", f"--bind-address={SWITCH_ADDRESS}"]
    return {
        "etcd": [
            "etcd",
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls={_ETCD}",
            f"--advertise-client-urls={_ETCD}",
            f"--listen-peer-urls={_PEERS}",
            f"--initial-advertise-peer-urls={_PEERS}",
            f"--initial-cluster=default={_PEERS}",
            "--unsafe-no-fsync",  # a test has no second life
        ],
        "kube-apiserver": [
            str(binaries / "kube-apiserver"),
            f"--etcd-servers={_ETCD}",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--bind-address={SWITCH_ADDRESS}",
            f"--advertise-address={SWITCH_ADDRESS}",
            f"--secure-port={api.PORT}",
            f"--cert-dir={directory / 'certificates'}",
            f"--token-auth-file={directory / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--kubelet-preferred-address-types=InternalIP",  # machines have no names but in the cluster
            "--allow-privileged",
            "--endpoint-reconciler-type=none",
        ],
        "kube-controller-manager": [
            str(binaries / "kube-controller-manager"),
            f"--service-account-private-key-file={key}",
            "--use-service-account-credentials",
            *as_client,
        ],
        "kube-scheduler": [str(binaries / "kube-scheduler"), *as_client],
        "dns": [sys.executable, "-m", "tests.support.cluster.dns"],
    }


@contextmanager
def control_plane(binaries: Path, directory: Path) -> Iterator[None]:
    """Runs within the `with`; it is ready when that begins. directory: gets a kubeconfig and the logs."""
    run("openssl", "genrsa", "-out", str(directory / "accounts.key"), "2048")
    (directory / "tokens.csv").write_text(f'{api.TOKEN},admin,1,"system:masters"\n')
    (directory / "kubeconfig").write_text(api.KUBECONFIG)
    (directory / "kubeconfig").chmod(0o600)
    commands = programs(binaries, directory)
    with ExitStack() as stack:
        started = {}
        for name in ("etcd", "kube-apiserver"):
            started[name] = stack.enter_context(process(commands[name], directory / f"{name}.log"))
        api.wait_for(lambda: all_run(started) and api.is_up(), "the API server is ready", START_SECONDS)
        for name in commands.keys() - started.keys():
            started[name] = stack.enter_context(process(commands[name], directory / f"{name}.log"))
        yield
        assert all_run(started)


def all_run(started: dict[str, subprocess.Popen[bytes]]) -> bool:
    ended = [name for name, process in started.items() if process.poll() is not None]
    assert not ended, f"ended by themselves: {', '.join(ended)}"
    return True


@contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        # In a session of its own, or a Ctrl-C would end it before what needs it.
        started = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield started
    finally:
        started.kill()
        started.wait()
