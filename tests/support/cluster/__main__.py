"""`make cluster-test`: prepares what a run needs from outside, and runs it in namespaces of its own.

The run's first process is the first one of a process namespace. When it ends, however it does, the kernel ends all others, and
what they have mounted and connected goes with them.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys

from tests.support.cluster.binaries import NoKubernetesError, build_kubernetes, find_kubernetes
from tests.support.cluster.images import make_images
from tests.support.places import ROOT

BUILD = ROOT / "build" / "cluster"
KUBERNETES = ROOT / "build" / "kubernetes"
HELM = ROOT / "build" / "helm"
PACKAGES = {
    "buildah": "buildah",
    "containerd": "containerd",
    "etcd": "etcd-server",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "openssl": "openssl",
    "podman": "podman",
    "runc": "runc",
    "unshare": "util-linux",
}
NETWORK_PLUGIN = "/usr/lib/cni/bridge"
# The run is killed if this process is, and ends by itself after a Ctrl-C.
ENTERING = ("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def missing() -> str:
    """What is not there that a run needs, with what to do; empty: nothing."""
    if os.geteuid() != 0:
        return "make cluster-test makes machines of namespaces: run it as root"
    packages = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not os.path.exists(NETWORK_PLUGIN):
        packages.append("containernetworking-plugins")
    if packages:
        return f"programs are missing: apt-get install --no-install-recommends {' '.join(packages)}"
    if not (HELM / "helm").exists():
        return "Helm is not there: make helm"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build-kubernetes", action="store_true", help="and nothing else")
    parser.add_argument("--events", type=int, default=1, help="of each kind")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--only", action="append", default=[], help="events of this kind")
    options = parser.parse_args()
    if options.build_kubernetes:
        build_kubernetes(KUBERNETES)
        return
    if problem := missing():
        sys.exit(problem)
    try:
        kubernetes = find_kubernetes(KUBERNETES)
    except NoKubernetesError as error:
        sys.exit(str(error))
    image, archives = make_images(BUILD / "images")
    arguments = [f"--kubernetes={kubernetes}", f"--helm={HELM / 'helm'}", f"--kubectl={HELM / 'kubectl'}", f"--image={image}"]
    arguments += [f"--archive={archive}" for archive in archives]
    arguments += [f"--directory={BUILD / 'run'}", f"--templates={BUILD / 'template'}"]
    arguments += [f"--events={options.events}", f"--seed={options.seed}", *(f"--only={name}" for name in options.only)]
    print(f"seed {options.seed}; files and logs are in {BUILD / 'run'}", flush=True)
    module = (sys.executable, "-u", "-m", "tests.support.cluster.run")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run = subprocess.Popen([*ENTERING, *module, *arguments], cwd=ROOT)
    while True:
        try:
            sys.exit(run.wait())
        except KeyboardInterrupt:  # the run has heard it, too, and takes everything down
            continue


if __name__ == "__main__":
    main()
