"""What happens to a deployment. Each event returns when all of the deployment is ready again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from click.testing import CliRunner

from persia.embedding_server.tools.epochs import epochs
from tests.support.cluster import api
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.node import kill_container
from tests.support.cluster.release import NAME, Release, is_ready
from tests.support.cluster.shared_files import SharedFiles
from tests.support.dense_pairs import MODEL

SECONDS = 600.0  # until anything is seen
REFUSED_AFTER = 45  # seconds that an upgrade with a wrong image is given
SECRET = "persia-tls"
SHARDS = "app.kubernetes.io/component=shard"
MODELS = "app.kubernetes.io/component=models"
MIDDLEWARES = "app.kubernetes.io/component=middleware"


@dataclass
class Deployment:
    """Whom events happen to."""

    cluster: Cluster
    release: Release
    files: SharedFiles
    rng: random.Random

    def restart(self, number: int) -> None:
        """All shards at once; each Deployment takes away one server when another one is ready."""
        self.release.kubectl("rollout", "restart", "deployment", "--selector", SHARDS)
        self.release.wait_until_ready()

    def upgrade(self, number: int) -> None:
        """Everything rolls, middlewares and shards."""
        annotations = {"podAnnotations": {"upgrade": f"upgrade-{number}"}}
        self.release.upgrade({"shards": annotations, "middleware": annotations})
        self.release.wait_until_ready()

    def kill_server(self, number: int) -> None:
        """SIGKILL for the one process of a pod, which the kubelet starts again."""
        pod = self._some_pod(SHARDS if number % 2 else MIDDLEWARES)
        name, status = pod["metadata"]["name"], pod["status"]["containerStatuses"][0]
        kill_container(self.cluster.machines[pod["spec"]["nodeName"]], status["containerID"])

        def began_again() -> bool:
            found = [one for one in api.pods() if one["metadata"]["name"] == name]
            return bool(found) and found[0]["status"]["containerStatuses"][0]["restartCount"] > status["restartCount"]

        api.wait_for(began_again, f"{name} begins again", SECONDS)
        self.release.wait_until_ready()

    def delete_pod(self, number: int) -> None:
        pod = self._some_pod(SHARDS if number % 2 else MIDDLEWARES)
        self.release.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
        api.wait_for(lambda: not is_ready(), "the pod is missed", SECONDS)
        self.release.wait_until_ready()

    def lose_machine(self, number: int) -> None:
        """Ready again elsewhere, without the machine, which comes back only then."""
        name = self._some_pod(SHARDS)["spec"]["nodeName"]
        self.cluster.lose(name)
        api.wait_for(lambda: name not in api.ready_nodes() and not is_ready(), f"{name} is missed", SECONDS)
        self.release.wait_until_ready()

    def drain_node(self, number: int) -> None:
        name = self._some_pod(SHARDS)["spec"]["nodeName"]
        self.release.kubectl("drain", name, "--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={SECONDS:.0f}s")
        self.release.wait_until_ready()
        self.release.kubectl("uncordon", name)

    def scale_middlewares(self, number: int) -> None:
        """To four, and back to two."""
        for replicas in (4, 2):
            self.release.upgrade({"middleware": {"replicas": replicas}})
            self.release.wait_until_ready()

    def swap_model(self, number: int) -> None:
        """A record names the version, and then its archive takes the place of the one before, pod by pod.

        Until that, pods of the version before keep to the last epoch that belongs to it.
        """
        said = CliRunner().invoke(epochs, ["dense", str(self.files.packets), f"{MODEL}={number}.0"])
        assert said.exit_code == 0, said.output
        self.release.upgrade({"models": {"archives": [archive_of(number)]}})
        self.release.wait_until_ready()
        api.wait_for(lambda: not api.ending_pods(MODELS), "no pod serves the version before", SECONDS)

    def renew_certificate(self, number: int) -> None:
        """Until every pod has it: the kubelet brings changes of a Secret to its pods when it next looks."""
        self.files.renew_certificate()
        write_secret(self.release, self.files)
        certificate = self.files.secret["tls.crt"].read_text()

        def have_it() -> bool:
            while waiting and self._file(waiting[0], "/etc/persia/tls/tls.crt") == certificate:
                del waiting[0]
            return not waiting

        waiting = [pod["metadata"]["name"] for pod in api.pods(f"app.kubernetes.io/instance={NAME}")]
        api.wait_for(have_it, "all pods have the new certificate", SECONDS)

    def refuse_image(self, number: int) -> None:
        """One that no registry has, or one that is of another program; then the way back."""
        wrong = {"tag": "nobody-has-this"} if number % 2 else {"repository": "localhost/pause", "tag": "1"}
        self.release.try_upgrade({"image": wrong}, REFUSED_AFTER)
        assert not is_ready()  # the new pods are not
        self.release.roll_back()
        self.release.wait_until_ready()

    def _file(self, pod: str, path: str) -> str:
        return self.release.kubectl("exec", pod, "--", "cat", path)

    def _some_pod(self, selector: str) -> api.Item:
        chosen: api.Item = self.rng.choice(sorted(api.pods(selector), key=lambda pod: pod["metadata"]["name"]))
        return chosen


def archive_of(number: int) -> str:
    """The file's name, as tests.support.cluster.archives writes it."""
    return f"{MODEL}-{number}.0.mar"


def write_secret(release: Release, files: SharedFiles) -> None:
    """The Secret with the certificate, new or in the place of the one that is there."""
    sources = [f"--from-file={name}={path}" for name, path in files.secret.items()]
    release.apply(release.kubectl("create", "secret", "generic", SECRET, *sources, "--dry-run=client", "--output=yaml"))


Event = Callable[[Deployment, int], None]  # and how many of its kind there have been, with this one

EVENTS: dict[str, Event] = {
    "rolling restart of all shards": Deployment.restart,
    "helm upgrade, everything rolls": Deployment.upgrade,
    "server killed (SIGKILL)": Deployment.kill_server,
    "pod deleted": Deployment.delete_pod,
    "machine lost": Deployment.lose_machine,
    "machine drained": Deployment.drain_node,
    "middlewares scaled to 4 and back": Deployment.scale_middlewares,
    "dense model swapped": Deployment.swap_model,
    "certificate renewed": Deployment.renew_certificate,
    "wrong image refused, and rolled back": Deployment.refuse_image,
}
