"""deploy/helm: what the chart makes of values is valid, is what our own programs read, and changes with each key."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from persia.config import config_keys, load_global_config
from persia.config.legacy import EMBEDDING_RENAMES
from persia.launcher import main
from persia.writers import write_checkpoint
from tests.support.charts import (
    CASES,
    CHART,
    NEWEST,
    ChartRefused,
    Document,
    container_of,
    leaves,
    needs_helm,
    of_kind,
    pods_of,
    render,
    run_helm,
    schema,
    validate,
    values_of,
    write_files,
)
from tests.support.places import ROOT

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
# Whose schemas are those of operators, and not of Kubernetes.
OF_OPERATORS = {"ServiceMonitor", "PrometheusRule"}
VERSIONS = ("1.25", "1.31", "1.35", "1.37")


@pytest.fixture(autouse=True, scope="module")
def _helm() -> None:
    needs_helm()


@pytest.mark.parametrize("case", CASES)
def test_helm_has_nothing_to_say_against_it(case: str) -> None:
    done = run_helm("lint", "--strict", str(CHART), "-f", values_of(case))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_is_one_that_kubernetes_knows(version: str) -> None:
    kinds = set()
    for case in CASES:
        for document in render(case, version=version):
            kinds.add(document["kind"])
            is_another_shard = re.search(r"-shard-[1-9]", document["metadata"]["name"])  # which differs in its number alone
            if document["kind"] not in OF_OPERATORS and not is_another_shard:
                validate(document, version)
    assert kinds >= {"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"}


def test_an_old_kubernetes_gets_what_it_knows() -> None:
    """The schemas begin with 1.25; a real 1.20 is asked by the tests of a cluster."""
    documents = render("plain", version="1.20") + render("all", version="1.20")
    versions = {one["kind"]: one["apiVersion"] for one in documents}
    assert versions["PodDisruptionBudget"] == "policy/v1beta1"
    assert versions["HorizontalPodAutoscaler"] == "autoscaling/v2beta2"
    pod = pods_of(render("plain", version="1.20"))["ctr-shard-0"]
    assert container_of(pod)["readinessProbe"]["exec"]["command"][:3] == ["persia-launcher", "health", "127.0.0.1:8888"]
    assert [one for one in pod["spec"]["topologySpreadConstraints"] if "nodeTaintsPolicy" in one] == []
    new = container_of(pods_of(render("plain"))["ctr-shard-0"])
    assert new["readinessProbe"]["grpc"] == new["startupProbe"]["grpc"] == {"port": 8888}


def test_each_shard_has_servers_an_address_and_a_budget_of_its_own() -> None:
    documents = render("plain", "shards.count=3")
    names = [f"ctr-shard-{shard}" for shard in range(3)]
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert [name for name in of_kind(documents, kind) if "shard" in name] == names
    for shard, name in enumerate(names):
        deployment = of_kind(documents, "Deployment")[name]
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        service = of_kind(documents, "Service")[name]["spec"]
        assert service["clusterIP"] == "None"
        budget = of_kind(documents, "PodDisruptionBudget")[name]["spec"]
        for selector in (deployment["spec"]["selector"]["matchLabels"], service["selector"], budget["selector"]["matchLabels"]):
            assert selector.items() <= labels.items() and selector["persia-serve/shard"] == str(shard)
        arguments = container_of(deployment["spec"]["template"])["args"]
        assert arguments[-4:] == ["--replica-index", str(shard), "--replica-size", "3"]


@pytest.mark.parametrize("case", CASES)
def test_pods_can_do_little_and_are_spread(case: str) -> None:
    for pod in pods_of(render(case)).values():
        spec, container = pod["spec"], container_of(pod)
        assert spec["automountServiceAccountToken"] is False
        assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 65532)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        hosts, zones = spec["topologySpreadConstraints"]
        assert (hosts["topologyKey"], hosts["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
        assert (zones["topologyKey"], zones["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "ScheduleAnyway")
        for spread in (hosts, zones):
            assert spread["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert {one["key"]: one.get("tolerationSeconds") for one in spec["tolerations"][:2]} == {
            "node.kubernetes.io/not-ready": 10,
            "node.kubernetes.io/unreachable": 10,
        }
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
        secrets = [volume["secret"]["defaultMode"] for volume in spec["volumes"] if "secret" in volume]
        assert set(secrets) <= {0o400}


@pytest.mark.parametrize("case", CASES)
def test_the_launcher_knows_what_pods_start_and_ask(case: str, tmp_path: Path) -> None:
    for version in ("1.20", "1.37"):
        documents = render(case, version=version)
        for pod in pods_of(documents).values():
            container = container_of(pod)
            commands = [container["args"]]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if "exec" in container[probe]:
                    program, *arguments = container[probe]["exec"]["command"]
                    assert program == "persia-launcher" and container[probe]["timeoutSeconds"] >= 5
                    commands.append(arguments)
            for name, *arguments in commands:
                command = main.get_command(click.Context(main), name)
                assert command is not None
                places = {"/data/archives": str(tmp_path)}
                if name == "torchserve":
                    properties = write_files(documents, "ctr-models", tmp_path / version) / "config.properties"
                    places["/etc/persia/config/config.properties"] = str(properties)
                there = [places.get(argument, argument) for argument in arguments]
                command.make_context(name, there)  # which reads the command line


def test_ports_are_those_of_the_servers() -> None:
    for case in CASES:
        documents = render(case)
        for name, pod in pods_of(documents).items():
            container = container_of(pod)
            named = {port["name"]: port["containerPort"] for port in container["ports"]}
            for port in of_kind(documents, "Service")[name]["spec"]["ports"]:
                assert named[port["targetPort"]] == port["port"]
            for option, port in (("--port", "grpc"), ("--metrics-port", "metrics"), ("--health-port", "health")):
                if option in container["args"]:
                    assert container["args"][container["args"].index(option) + 1] == str(named[port])


@pytest.mark.parametrize("case", CASES)
def test_our_own_check_accepts_every_config(case: str, tmp_path: Path) -> None:
    """With the rows in a directory of this machine, whatever store the values name."""
    checkpoint = tmp_path / "checkpoint"
    signs = np.concatenate([np.arange(10, dtype=np.uint64) + np.uint64(group << 56) for group in (1, 2)])
    write_checkpoint(checkpoint, [(signs, np.ones((20, 4), np.float32))], shards=1)
    (tmp_path / "packets").mkdir()
    documents = render(case)
    for name in of_kind(documents, "ConfigMap"):
        directory = write_files(documents, name, tmp_path / name)
        config = directory / "global_config.yaml"
        arguments = ["check", "--global-config", str(config)]
        settings = yaml.safe_load(config.read_text())
        if (server := settings.get("embedding_parameter_server_config")) is not None:
            settings["common_config"]["infer_config"]["embedding_checkpoint"] = str(checkpoint)
            if server["enable_incremental_update"]:
                server["incremental_dir"] = str(tmp_path / "packets")
            config.write_text(yaml.dump(settings))
        if (directory / "embedding_config.yml").exists():
            arguments += ["--embedding-config", str(directory / "embedding_config.yml")]
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 0, result.output
        load_global_config(config)
        if (directory / "config.properties").exists():
            home = "torchserve" if case == "torchserve" else "model-server"
            arguments = ["check", "--ts-config", str(directory / "config.properties"), "--front", home]
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 0, result.output


def test_the_section_security_follows_the_secrets(tmp_path: Path) -> None:
    config = load_global_config(write_files(render("all"), "ctr-shards", tmp_path) / "global_config.yaml")
    security = config.security
    assert (security.certificate, security.key) == ("/etc/persia/tls/tls.crt", "/etc/persia/tls/tls.key")
    assert security.client_ca == security.ca == "/etc/persia/tls/ca.crt"
    assert (security.client_certificate, security.client_key) == (security.certificate, security.key)
    assert security.tokens == security.token == "/etc/persia/tokens/tokens"
    assert security.server_name == "persia-serve.serving.svc"
    mounts = {mount["name"]: mount["mountPath"] for mount in container_of(pods_of(render("all"))["ctr-models"])["volumeMounts"]}
    assert (mounts["tls"], mounts["tokens"]) == ("/etc/persia/tls", "/etc/persia/tokens")
    one_sided = load_global_config(write_files(render("front"), "ctr-models", tmp_path) / "global_config.yaml").security
    assert one_sided.client_ca is None and one_sided.ca is not None


def test_large_numbers_stay_whole(tmp_path: Path) -> None:
    rendered = render("all", f"settings.embedding_parameter_server_config.capacity={2**53 - 1}")
    config = load_global_config(write_files(rendered, "ctr-shards", tmp_path) / "global_config.yaml")
    assert config.embedding_parameter_server_config.capacity == 2**53 - 1


NODES = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["fast"]}]}
DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("own", "image"),
    [
        ({}, f"registry/persia@{DIGEST}"),
        ({"tag": "2"}, "registry/persia:2"),
        ({"repository": "registry/models"}, "registry/models:1"),
        ({"repository": "registry/models", "tag": "2"}, "registry/models:2"),
        ({"tag": "2", "digest": f"sha256:{'1' * 64}"}, f"registry/persia@sha256:{'1' * 64}"),
    ],
)
def test_a_digest_is_that_of_its_own_image(own: dict[str, str], image: str) -> None:
    """A tier with another tag would go on with the old image, and models would have the image of the servers."""
    common = {"repository": "registry/persia", "tag": "1", "digest": DIGEST}
    pods = pods_of(render("plain", f"image={json.dumps(common)}", f"shards.image={json.dumps(own)}"))
    assert container_of(pods["ctr-shard-0"])["image"] == image
    assert container_of(pods["ctr-middleware"])["image"] == f"registry/persia@{DIGEST}"


def test_variables_have_the_numbers_that_the_values_have() -> None:
    pod = pods_of(render("plain", "environment.LIMIT=100000000", "environment.CHECKS=true"))["ctr-middleware"]
    variables = {one["name"]: one["value"] for one in container_of(pod)["env"]}
    assert (variables["LIMIT"], variables["CHECKS"]) == ("100000000", "true")


def test_a_variable_can_be_a_key_of_a_secret() -> None:
    given = {"AWS_SECRET_ACCESS_KEY": {"secret": "s3", "key": "secret-key"}, "AWS_WEB_IDENTITY_TOKEN_FILE": "/data/token"}
    for pod in pods_of(render("plain", f"environment={json.dumps(given)}")).values():
        variables = {one["name"]: one for one in container_of(pod)["env"]}
        reference = {"secretKeyRef": {"name": "s3", "key": "secret-key"}}
        assert variables["AWS_SECRET_ACCESS_KEY"] == {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": reference}
        assert variables["AWS_WEB_IDENTITY_TOKEN_FILE"]["value"] == "/data/token"


@pytest.mark.parametrize("tier", ["shards", "middleware", "models"])
def test_pods_and_services_have_what_a_cluster_wants_of_them(tier: str) -> None:
    """Labels, annotations and an affinity of one's own, and what the chart finds its pods by is as before."""
    own: dict[str, Any] = {
        "podLabels": {"team": "ads", "version": "1.0"},
        "podAnnotations": {"example.com/scrape": "true"},
        "serviceAnnotations": {"service.kubernetes.io/topology-mode": "Auto"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [NODES]}}},
    }
    documents = render("all", *(f"{tier}.{key}={json.dumps(value)}" for key, value in own.items()))
    for document in documents:
        if document["kind"] in ("Deployment", "Service"):
            validate(document, NEWEST)
    before = of_kind(render("all"), "Deployment")
    for name, deployment in of_kind(documents, "Deployment").items():
        if tier.rstrip("s") not in name:
            assert deployment == before[name]
            continue
        assert deployment["spec"]["selector"] == before[name]["spec"]["selector"]
        pod, old = deployment["spec"]["template"], before[name]["spec"]["template"]
        assert pod["metadata"]["labels"] == old["metadata"]["labels"] | own["podLabels"]
        assert pod["metadata"]["annotations"] == old["metadata"]["annotations"] | own["podAnnotations"]
        assert pod["spec"]["affinity"] == own["affinity"]
        service = of_kind(documents, "Service")[name]
        assert service["metadata"]["annotations"] == own["serviceAnnotations"]
        assert not service["spec"]["selector"].keys() & own["podLabels"].keys()


def test_names_that_yaml_takes_for_something_else_stay_texts() -> None:
    documents = render("plain", 'models.store="/data/archives"', 'models.archives=["1.0", "no"]', release="true")
    assert container_of(pods_of(documents)["true-models"])["args"][-2:] == ["1.0", "no"]
    for pod in pods_of(documents).values():
        assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == "true"


@pytest.mark.parametrize(("release", "words"), [("8-shards", "begins with a letter"), (f"c{'t' * 52}", "at most 52")])
def test_a_release_whose_services_could_have_no_name_is_refused(release: str, words: str) -> None:
    with pytest.raises(ChartRefused, match=words):
        render("plain", release=release)
    assert max(len(name) for name in of_kind(render("plain", release=f"c{'t' * 51}"), "Service")) == 63


@pytest.mark.parametrize(
    ("requests", "limits", "fits"),
    [
        ({"memory": "24Gi"}, {"memory": "2Gi"}, False),
        ({"memory": "2049Mi"}, {"memory": "2Gi"}, False),
        ({"memory": 2147483649}, {"memory": "2Gi"}, False),
        ({"memory": "2G"}, {"memory": "2Gi"}, True),
        ({"memory": "0.5Ti"}, {"memory": "512Gi"}, True),
        ({"cpu": "1"}, {"cpu": "500m"}, False),
        ({"cpu": "500m"}, {"cpu": 1}, True),
    ],
)
def test_a_request_that_is_more_than_its_limit_is_refused(requests: Document, limits: Document, fits: bool) -> None:
    resources = {"requests": requests, "limits": limits}
    for tier in ("shards", "middleware"):
        if fits:
            assert container_of(pods_of(render("plain", f"{tier}.resources={json.dumps(resources)}"))["ctr-middleware"])
            continue
        with pytest.raises(ChartRefused, match=rf"{tier}\.resources\.requests\.\w+ is .*limits"):
            render("plain", f"{tier}.resources={json.dumps(resources)}")


def test_a_section_without_keys_is_one_that_has_none() -> None:
    """As in a file in which all of its keys are comments."""
    settings = [f"settings.{one}_config=null" for one in ("checkpointing", "embedding_parameter_server", "embedding_worker")]
    for nothing in (*settings, "shards.resources=null", "shards.resources.requests=null", "shards.resources.limits=null"):
        assert container_of(pods_of(render("plain", nothing))["ctr-shard-0"])["args"]


def test_a_middleware_may_wait_for_shards_that_load() -> None:
    deployments = of_kind(render("plain", "shards.startSeconds=7200"), "Deployment")
    assert {one["spec"]["progressDeadlineSeconds"] for one in deployments.values()} == {7800}


def test_torchserve_takes_a_store_and_as_long_as_it_may_take() -> None:
    documents = render("torchserve", 'models.store="s3://models/archives"', "models.startSeconds=900")
    arguments = container_of(pods_of(documents)["ctr-models"])["args"]
    assert arguments[arguments.index("--model-store") + 1] == "s3://models/archives"
    assert arguments[arguments.index("--ready-timeout") + 1] == "900"


@pytest.mark.parametrize("name", ["slots_config", *(old for old, new in EMBEDDING_RENAMES if new == "slots_config")])
def test_a_config_of_persia_with_older_names_is_taken(name: str) -> None:
    config = f"{name}: {{user: {{dim: 4}}}}\n"
    documents = render("plain", f"embeddingConfig={json.dumps(config)}")
    assert of_kind(documents, "ConfigMap")["ctr-shards"]["data"]["embedding_config.yml"].strip() == config.strip()


CONFIG = "feature_index_prefix_bit: 8\nslots_config: {user: {dim: 8}}\n"


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        (f"embeddingConfig={json.dumps(CONFIG)}", {"ctr-shard-0", "ctr-shard-1", "ctr-middleware"}),
        ('checkpoint="s3://models/ctr/new"', {"ctr-shard-0", "ctr-shard-1"}),
        ("settings.embedding_worker_config.hedge_after_ms=60", {"ctr-middleware", "ctr-models"}),
        ("settings.embedding_parameter_server_config.retained_epochs=9", {"ctr-shard-0", "ctr-shard-1"}),
        ('embeddingTier={"release": "ctr-8", "shards": 8}', {"ctr-middleware"}),
        ("models.properties.job_queue_size=200", {"ctr-models"}),
        ("middleware.replicas=5", set()),
    ],
)
def test_pods_begin_anew_when_what_they_read_has_changed(setting: str, changed: set[str]) -> None:
    before, after = pods_of(render("all")), pods_of(render("all", setting))
    differ = {name for name in before if before[name]["metadata"]["annotations"] != after[name]["metadata"]["annotations"]}
    assert differ == changed


def test_middlewares_can_ask_the_shards_of_another_release() -> None:
    data = of_kind(render("front"), "ConfigMap")["ctr-middleware"]["data"]
    common = yaml.safe_load(data["global_config.yaml"])["common_config"]
    servers = common["infer_config"]["servers"]
    assert servers == [f"ctr-4-shard-{shard}.serving.svc.cluster.local:8888" for shard in range(4)]
    tier = render("tier", release="ctr-4")
    own = yaml.safe_load(of_kind(tier, "ConfigMap")["ctr-4-shards"]["data"]["global_config.yaml"])["common_config"]
    assert common["deployment"] == own["deployment"] == "serving/ctr-4"
    assert [f"{name}.serving.svc.cluster.local:8888" for name in of_kind(tier, "Service")] == servers
    assert set(of_kind(tier, "ConfigMap")) == {"ctr-4-shards"}
    assert not of_kind(render("front"), "ConfigMap").keys() & {"ctr-shards"}


def test_rules_are_those_of_deploy_monitoring() -> None:
    rule = of_kind(render("all"), "PrometheusRule")["ctr"]
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy" / "monitoring" / "rules.yml").read_text())
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    monitor = of_kind(render("all"), "ServiceMonitor")["ctr"]["spec"]
    watched = [
        one["metadata"]["name"]
        for one in of_kind(render("all"), "Service").values()
        if monitor["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
        and monitor["endpoints"][0]["port"] in {port["name"] for port in one["spec"]["ports"]}
    ]
    assert watched == ["ctr-middleware", "ctr-models", "ctr-shard-0", "ctr-shard-1"]
    assert monitor["endpoints"][0]["tlsConfig"]["serverName"] == "persia-serve.serving.svc"


def test_pods_of_another_release_may_ask_and_strangers_may_not() -> None:
    services = of_kind(render("all"), "Service")
    for name, policy in of_kind(render("all"), "NetworkPolicy").items():
        calls, metrics = policy["spec"]["ingress"]
        ports = {port["name"]: port["port"] for port in services[name.replace("shard", "shard-0")]["spec"]["ports"]}
        assert [port["port"] for port in metrics["ports"]] == [ports.pop("metrics")]
        assert [port["port"] for port in calls["ports"]] == list(ports.values())
        assert {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "persia-serve"}}} in calls["from"]
        assert len(calls["from"]) == 2 and len(metrics["from"]) == 1
    assert of_kind(render("all", "networkPolicy.enabled=false"), "NetworkPolicy") == {}


@pytest.mark.parametrize(
    ("case", "setting", "words"),
    [
        ("plain", "shards.count=-1", "at '/shards/count': minimum: got -1, want 0"),
        ("plain", "shards.cuont=3", "at '/shards': additional properties 'cuont' not allowed"),
        ("plain", 'shards.count="two"', "at '/shards/count': got string, want integer"),
        ("plain", "settings.embedding_parameter_server_config.capacty=4", "additional properties 'capacty' not allowed"),
        ("plain", 'settings.embedding_parameter_server_config.incremental_dir="/x"', "'incremental_dir' not allowed"),
        ("plain", 'checkpoint="relative"', "at '/checkpoint': 'relative' does not match pattern"),
        ("plain", 'models.home="ray"', "at '/models/home': value must be one of 'model-server', 'torchserve'"),
        ("plain", 'embeddingConfig=""', "--set-file embeddingConfig=embedding_config.yml"),
        ("plain", 'embeddingConfig="root:x:0:0"', "embeddingConfig has no slots_config"),
        ("plain", 'embeddingConfig="slots_config: [a"', "embeddingConfig has no slots_config"),
        ("plain", 'packets="/data/checkpoint/"', "packets and checkpoint are both /data/checkpoint/"),
        ("plain", 'checkpoint="/elsewhere"', "checkpoint is /elsewhere, and no entry of `volumes` is mounted there"),
        ("plain", "security.insecure=false", "write security.tls.secret, security.tokens.secret, or security.insecure=true"),
        ("plain", "shards.count=0", "embeddingTier.release and .shards"),
        ("tier", "shards.count=0", "shards.count"),
        ("tier", 'models.store="s3://a/b"', "handlers ask the middleware of their release"),
        ("tier", "epochs=true", "packets is empty"),
        ("tier", 'checkpoint=""', "write where the rows come from"),
        ("front", "embeddingTier.shards=0", "write how many shards the release ctr-4 has"),
        ("front", 'security.tokens.secret="t"', "leave one of them out"),
        ("all", 'monitoring.serviceMonitor.tokenSecret.name=""', "write monitoring.serviceMonitor.tokenSecret.name"),
        ("all", "models.autoscaling.minReplicas=50", "models.autoscaling.minReplicas is 50, and maxReplicas is"),
        ("plain", 'volumes=[{"name": "data", "mountPath": "/data"}]', "at '/volumes/0': missing property 'source'"),
        ("plain", 'volumes=[{"name": "data", "mountPath": "/tmp/", "source": {"emptyDir": {}}}]', "at '/volumes/0/mountPath'"),
        ("plain", 'shards.affinity={"nodeAfinity": {}}', "additional properties 'nodeAfinity' not allowed"),
        ("plain", 'shards.podLabels={"persia-serve/shard": "1"}', "invalid propertyName 'persia-serve/shard'"),
        ("plain", 'models.podLabels={"team": "a b"}', "at '/models/podLabels/team': 'a b' does not match pattern"),
        ("plain", 'shards.podAnnotations={"checksum/config": "0"}', "invalid propertyName 'checksum/config'"),
        ("plain", 'environment.A={"secret": "s"}', "at '/environment/A': missing property 'key'"),
        ("plain", 'environment.AWS_SECRET_ACCESS_KEY="x"', "write environment.AWS_SECRET_ACCESS_KEY={secret: NAME, key: KEY}"),
        ("plain", 'environment.AZURE_STORAGE_ACCESS_KEY="x"', "everybody who sees the release or a pod could read it"),
        ("plain", 'environment.AZURE_STORAGE_SAS_KEY="x"', "everybody who sees the release or a pod could read it"),
        ("plain", 'environment.DB_PASSWORD="x"', "everybody who sees the release or a pod could read it"),
        ("plain", "shards=null", "at '': missing property 'shards'"),
        ("plain", "models.autoscaling=null", "at '/models': missing property 'autoscaling'"),
        ("torchserve", "models.withoutKeys=false", "keys differ in each pod"),
        ("torchserve", 'models.keysSecret="keys"', "makes its keys itself"),
    ],
)
def test_wrong_values_are_refused_with_what_to_write(case: str, setting: str, words: str) -> None:
    with pytest.raises(ChartRefused) as refused:
        render(case, setting)
    assert words in str(refused.value)


def test_the_schema_has_the_keys_of_the_values_and_those_of_the_config() -> None:
    def keys_of(node: Document, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
        properties = node.get("properties")
        if properties is None:
            return {path}
        assert node["additionalProperties"] is False, path
        return {path} if not properties else set().union(*(keys_of(one, (*path, key)) for key, one in properties.items()))

    whole = keys_of(schema()) - {("global",)}
    open_ended = {path for path in leaves(VALUES) if not _value(VALUES, path)}
    known = set(leaves(VALUES))
    for path in whole:
        assert any(path == one[: len(path)] for one in known) or any(one == path[: len(one)] for one in open_ended), path
    for path in known - whole:
        assert path in open_ended or path[:-1] in whole, path
    own = {"enable_incremental_update", "incremental_dir", "enable_epochs", "local_buffer_dir"}
    for section in ("checkpointing_config", "embedding_parameter_server_config", "embedding_worker_config"):
        named = {key.path.rpartition(".")[2]: key.type for key in config_keys() if section in key.path.split(".")}
        known = schema()["properties"]["settings"]["properties"][section]["properties"]
        assert set(known) == named.keys() - own
        words = {key: set(facts["enum"]) for key, facts in known.items() if "enum" in facts}
        assert words == {key: set(re.findall("`(.+?)`", named[key])) for key in words}


def _value(values: Document, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


def test_checksums_are_of_what_the_configmap_has() -> None:
    """So that two versions of Helm, which order keys alike, agree; and no pod begins anew without a reason."""
    documents = render("all")
    for tier, name in (("shards", "ctr-shard-0"), ("middleware", "ctr-middleware"), ("models", "ctr-models")):
        annotations = pods_of(documents)[name]["metadata"]["annotations"]
        assert len(annotations["checksum/config"]) == len(hashlib.sha256().hexdigest())
        volume = pods_of(documents)[name]["spec"]["volumes"][0]
        assert volume == {"name": "config", "configMap": {"name": f"ctr-{tier}"}}
