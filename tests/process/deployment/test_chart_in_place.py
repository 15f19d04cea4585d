"""What an upgrade may not change in place. Helm looks at the release that is there; a server here shows it one."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from persia.config import load_global_config
from tests.support.charts import CHART, Document, needs_helm, of_kind, render, run_helm, values_of
from tests.support.places import ROOT

RESOURCES = [{"name": "configmaps", "singularName": "configmap", "namespaced": True, "kind": "ConfigMap", "verbs": ["get"]}]
KINDS: dict[str, Any] = {
    "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": RESOURCES},
}
MISSING = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


@contextmanager
def cluster_with(*config_maps: Document, others: dict[str, Any] | None = None) -> Iterator[str]:
    """The URL of what answers for a cluster with these ConfigMaps alone, and with what is at other paths."""
    there = KINDS | {f"/api/v1/namespaces/serving/configmaps/{one['metadata']['name']}": one for one in config_maps}
    there |= others or {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = there.get(self.path.partition("?")[0])
            body = json.dumps(found or MISSING).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def kinds_of(documents: list[Document]) -> dict[str, Any]:
    """What a cluster says that knows the kinds of these, so that Helm prints them."""
    answers: dict[str, Any] = {"/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}}
    for version in {one["apiVersion"] for one in documents}:
        kinds = {one["kind"] for one in documents if one["apiVersion"] == version}
        names = {kind: f"{kind.lower()}s".replace("ys", "ies") for kind in kinds}
        listed = [RESOURCES[0] | {"name": name, "singularName": kind.lower(), "kind": kind} for kind, name in names.items()]
        answers[f"/apis/{version}" if "/" in version else f"/api/{version}"] = KINDS["/api/v1"] | {
            "groupVersion": version,
            "resources": listed,
        }
        if "/" in version:
            served = {"groupVersion": version, "version": version.partition("/")[2]}
            group = {"name": version.partition("/")[0], "versions": [served], "preferredVersion": served}
            answers["/apis"]["groups"].append(group)
    return answers


def upgrade(url: str, *settings: str) -> str:
    """What a template says, or nothing when all are rendered: then Helm misses the kinds that the server does not have."""
    words = ["template", "ctr", str(CHART), "--namespace", "serving", "-f", values_of("plain"), "--dry-run=server"]
    words += ["--kube-apiserver", url, "--disable-openapi-validation"]
    said = run_helm(*words, *(word for setting in settings for word in ("--set-json", setting))).stderr
    if "unable to build kubernetes objects" in said:
        return ""
    assert "execution error" in said
    return said


SHARDS, CHECKPOINT = "shards.count=3", 'checkpoint="/data/other"'
TLS = 'security={"tls": {"secret": "persia-tls"}, "tokens": {}}'
TIER = 'embeddingTier={"release": "ctr-green", "shards": 3}'


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([SHARDS], "the release has 2 shards, and shards.count is 3"),
        ([CHECKPOINT], "the release has loaded the checkpoint /data/checkpoint, and checkpoint is /data/other"),
        ([SHARDS, TIER], "persia-launcher rollout plan"),
        ([SHARDS, CHECKPOINT, "mayPause=true"], ""),
        ([CHECKPOINT, "epochs=true"], ""),
        (["shards.count=0", TIER], ""),
        (["shards.replicas=3"], ""),
        ([TLS], "speak plain text without tokens, and by `security` new ones would speak TLS with certificates of clients"),
        (['security={"tokens": {"secret": "t"}, "tls": {}}'], "would speak plain text with tokens"),
        ([TLS, "mayPause=true"], ""),
    ],
)
def test_an_upgrade_that_would_stop_lookups_is_refused(settings: list[str], words: str) -> None:
    needs_helm()
    with cluster_with(of_kind(render("plain"), "ConfigMap")["ctr-shards"]) as url:
        said = upgrade(url, *settings)
    assert words in said if words else said == ""


def test_a_new_release_and_a_single_shard_have_nothing_to_wait_for() -> None:
    needs_helm()
    with cluster_with() as url:
        assert upgrade(url, SHARDS) == ""
    with cluster_with(of_kind(render("plain", "shards.count=1"), "ConfigMap")["ctr-shards"]) as url:
        assert upgrade(url, "shards.count=1", CHECKPOINT) == ""


def test_middlewares_and_the_shards_of_another_release_speak_alike() -> None:
    """TLS comes to a release by a second one, so for a while there are shards of both kinds."""
    needs_helm()
    own = ("shards.count=0", TIER)
    asking = of_kind(render("plain", *own), "ConfigMap")["ctr-middleware"]
    green = of_kind(render("plain", SHARDS, TLS, "middleware.replicas=0", release="ctr-green"), "ConfigMap")["ctr-green-shards"]
    with cluster_with(green) as url:
        assert "the release ctr-green speak TLS with certificates of clients without tokens, and by" in upgrade(url, *own)
        assert upgrade(url, *own, TLS) == ""
        assert "clients without tokens, and by" in upgrade(url, *own, TLS.replace('"tls": {', '"tls": {"mutual": false, '))
    with cluster_with(green, asking) as url:
        assert "the pods of the release speak plain text without tokens" in upgrade(url, *own, TLS)


def test_the_second_release_of_the_page_speaks_tls(tmp_path: Path) -> None:
    """With the values of the release that serves, as `helm get values` has them, and the command of docs/kubernetes.md."""
    needs_helm()
    (command,) = re.findall(r"^ {4}helm install (ctr-tls .+)$", (ROOT / "docs" / "kubernetes.md").read_text(), re.MULTILINE)
    words = [{"ctr-values.yaml": values_of("plain")}.get(word, word) for word in shlex.split(command)]
    words[words.index("deploy/helm/persia-serve")] = str(CHART)
    del words[words.index("--wait") :]
    done = run_helm("template", *words)
    assert done.returncode == 0, done.stderr
    config = of_kind([one for one in yaml.safe_load_all(done.stdout) if one], "ConfigMap")["ctr-tls-shards"]
    (tmp_path / "global_config.yaml").write_text(config["data"]["global_config.yaml"])
    security = load_global_config(tmp_path / "global_config.yaml").security
    assert security.certificate == "/etc/persia/tls/tls.crt" and not security.insecure


def test_the_shards_that_are_asked_are_there_and_as_many_as_that() -> None:
    """After a rollout, when the servers are those of `ctr-green` and the release `ctr` has none."""
    needs_helm()
    green = of_kind(render("plain", SHARDS, "middleware.replicas=0", release="ctr-green"), "ConfigMap")["ctr-green-shards"]
    asking = of_kind(render("plain", "shards.count=0", TIER), "ConfigMap")["ctr-middleware"]
    with cluster_with(green, asking) as url:
        assert upgrade(url, "shards.count=0", TIER) == ""
        fewer = upgrade(url, "shards.count=0", 'embeddingTier={"release": "ctr-green", "shards": 2}')
        assert "the release ctr-green has 3 shards, and embeddingTier.shards is 2" in fewer
        assert "the middlewares ask ctr-green-shard-0" in upgrade(url, "middleware.replicas=3")
        assert upgrade(url, "middleware.replicas=3", "mayPause=true") == ""
        assert upgrade(url, TIER) == ""  # the own shards are started again, and nobody asks them yet
    with cluster_with(of_kind(render("plain"), "ConfigMap")["ctr-middleware"]) as url:
        assert upgrade(url) == ""


def test_models_that_are_to_be_scaled_go_on_with_the_pods_they_have() -> None:
    """A Deployment that names no replicas any more gets one, until the autoscaler has looked."""
    needs_helm()
    settings = ['models.store="/data/archives"', "models.autoscaling.enabled=true"]
    documents = render("plain", *settings)
    assert "replicas" not in of_kind(documents, "Deployment")["ctr-models"]["spec"]
    path = "/apis/apps/v1/namespaces/serving/deployments/ctr-models"
    running = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ctr-models"}, "spec": {"replicas": 7}}
    with cluster_with(others=kinds_of(documents) | {path: running}) as url:
        words = ["template", "ctr", str(CHART), "--namespace", "serving", "-f", values_of("plain"), "--is-upgrade"]
        words += ["--dry-run=server", "--kube-apiserver", url, "--disable-openapi-validation"]
        done = run_helm(*words, *(word for setting in settings for word in ("--set-json", setting)))
    assert done.returncode == 0, done.stderr
    rendered = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert of_kind(rendered, "Deployment")["ctr-models"]["spec"]["replicas"] == 7
