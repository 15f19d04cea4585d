"""deploy/monitoring, held against servers: a real Prometheus asks them, alerts fire, and the dashboard finds what it shows."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from persia.batch import IDTypeFeature, PersiaBatch
from persia.drift.metrics import DriftMetrics
from persia.drift.overview import Asked
from persia.v1 import embedding_pb2 as pb
from persia.v1 import middleware_pb2
from persia.variant import variant_key
from persia.writers import IncrementalDumper, VariantCommitter, write_checkpoint
from tests.support.middlewares import Middleware
from tests.support.model_servers import ModelServerRun, ask, make_mar
from tests.support.persia_packets import DIM, finish, write_file
from tests.support.places import ROOT
from tests.support.prometheus import Prometheus
from tests.support.promtool import run_promtool
from tests.support.servers import PATIENCE, EmbeddingServer, wait_until
from tests.support.stacks import LAUNCHER, Logged

FOLDER = ROOT / "deploy" / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text())
ALERTS = {rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
# What takes more than a few seconds, or more processes, is tried by promtool alone.
NOT_HERE = {"PersiaServerNotReady", "PersiaMisses", "PersiaCheckpointsMixed", "PersiaDrift"}
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def test_every_rule_has_cases_of_which_promtool_thinks_well() -> None:
    for arguments in (
        ("check", "rules", "rules.yml"),
        ("test", "rules", "rules_test.yml", "rules_day_test.yml"),
    ):
        done = run_promtool(*arguments, directory=FOLDER)
        assert done.returncode == 0, done.stdout + done.stderr
    cases = "".join((FOLDER / name).read_text() for name in ("rules_test.yml", "rules_day_test.yml"))
    fires = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- ", cases))
    does_not = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", cases))
    assert fires == ALERTS
    assert fires - does_not == {"PersiaRowsNotFinite"}  # whose case has a server that is well


def test_the_dashboard_is_what_the_script_makes() -> None:
    made = subprocess.run([sys.executable, FOLDER / "make_dashboard.py"], capture_output=True, text=True, check=True)
    assert made.stdout == (FOLDER / "dashboard.json").read_text()
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) and all(x + width <= 24 for x, _, width, _ in places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    assert DASHBOARD["title"] and all(panel["title"] for panel in DASHBOARD["panels"])


class Watched:
    """Two shards that follow epochs, a middleware and a model server, all of which Prometheus watches."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        """All end with the stack."""
        self.packets = directory / "packets"
        self.packets.mkdir()
        config = directory / "embedding_config.yml"
        config.write_text(f"slots_config: {{found: {{dim: {DIM}}}, never: {{dim: {DIM}}}}}\nfeature_index_prefix_bit: 8\n")
        signs = np.arange(100, dtype=np.uint64) + np.uint64(1 << 56)
        long_ago = datetime.fromtimestamp(time.time() - 3600, timezone.utc)  # packets are newer
        rows = np.ones((100, DIM), np.float32)
        write_checkpoint(directory / "ckpt", [(signs, rows)], shards=2, files_per_shard=1, datetime=long_ago)
        metrics = ["--metrics-port", "0"]
        self.shards = [
            stack.enter_context(
                EmbeddingServer(
                    directory,
                    config,
                    checkpoint=directory / "ckpt",
                    incremental_dir=self.packets,
                    index=index,
                    count=2,
                    settings={"enable_epochs": True},
                    arguments=metrics,
                )
            )
            for index in range(2)
        ]
        servers = [shard.wait_ready().address for shard in self.shards]
        self.middleware = stack.enter_context(Middleware(directory, config, servers, arguments=metrics)).wait_ready()
        store = directory / "store"
        make_mar(store, "probe")
        self.models = stack.enter_context(ModelServerRun(directory / "models", store, "--models", "all"))
        self.models.wait_ready()
        jobs = {
            "persia-servers": [_metrics_of(shard) for shard in self.shards],
            "persia-middleware": [_metrics_of(self.middleware)],
            "persia-models": [self.models.places["metrics"]],
        }
        self.prometheus = stack.enter_context(Prometheus(directory / "prometheus", jobs, FOLDER / "rules.yml"))

    def look_up(self, feature: str = "found", variant: str = "") -> None:
        """By a plain call, for a context asks no middleware that is not ready. Raises grpc.RpcError."""
        batch = PersiaBatch(
            [
                IDTypeFeature(name, [np.arange(10, dtype=np.uint64)] if name == feature else [np.array([], np.uint64)])
                for name in ("found", "never")
            ],
            requires_grad=False,
        )
        request = middleware_pb2.ForwardRequest(batch=batch.to_bytes(), variant=variant_key(variant))
        self.middleware.stub.Forward(request, timeout=PATIENCE)

    def commit_variant(self) -> int:
        """Of some rows, as `b`. Returns its epoch."""
        with IncrementalDumper(self.packets, variant="b") as dumper:
            dumper.commit(np.arange(10, dtype=np.uint64) + np.uint64(1 << 56), np.ones((10, DIM), np.float32))
            packet = dumper.flush()
        assert packet is not None
        return VariantCommitter(self.packets, "b").commit([packet])

    def write_packet(self, number: int, value: float, seconds_ago: float = 0.0, spoilt: bool = False) -> None:
        """With a row of each shard's, of a training that wrote it so long ago. spoilt: no file of rows at all."""
        packet = self.packets / "s0" / f"inc_202601010000{number:02d}"
        packet.mkdir(parents=True)
        if spoilt:
            (packet / "0_0.inc").write_bytes(b"these are no rows")
        else:
            write_file(packet / "0_0.inc", int(time.time() - seconds_ago), [(1 << 56) + sign for sign in range(10)], value)
        finish(packet)

    def damage_the_log_of_epochs(self) -> None:
        (newest,) = sorted((self.packets / ".epochs").glob("*.json"))[-1:]
        newest.with_name(f"{int(newest.stem) + 1:0{len(newest.stem)}}.json").write_text("{")


def _metrics_of(server: EmbeddingServer | Middleware) -> str:
    found = re.search(r"metrics on http://(\S+)/metrics\n", server.log())
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(tmp_path_factory.mktemp("watched"), stack)


def test_all_is_well(watched: Watched) -> None:
    watched.write_packet(1, 2.0)
    wait_until(lambda: all(shard.status().epoch >= 1 for shard in watched.shards), "the packet is served")
    epoch = watched.commit_variant()
    wait_until(lambda: all(shard.status().epoch >= epoch for shard in watched.shards), "the variant is served")

    def is_seen() -> bool:
        watched.look_up()
        watched.look_up(variant="b")
        watched.models.predict("probe", do="echo")
        return len(watched.prometheus.query("rate(persia_lookups_total[5m]) > 0")) == 2

    wait_until(is_seen, "Prometheus has seen lookups of both shards")
    assert watched.prometheus.firing() == set()
    assert len(watched.prometheus.query("up == 1")) == 4


def test_the_console_shows_them(watched: Watched, tmp_path: Path) -> None:
    command = [str(LAUNCHER), "console", "--port", "0", "--every", "0.2", "--middleware", watched.middleware.address]
    command += ["--models", watched.models.places["grpc_management"], "--log-format", "json"]
    with Logged(command, tmp_path / "console.log") as console:
        url = console.said(r'the console is at ([^\s"]+)')[1]

        def values() -> Any:
            watched.look_up()
            with suppress(urllib.error.HTTPError), urllib.request.urlopen(f"{url}data", timeout=PATIENCE) as answer:
                found = json.load(answer)
                return found if found["now"]["lookups"] else None

        shown = wait_until(values, "the console has seen lookups")
        assert [shard["replicas"][0]["address"] for shard in shown["shards"]] == [one.address for one in watched.shards]
        assert all(shard["replicas"][0]["epoch"] >= 1 for shard in shown["shards"])
        assert {one["name"] for one in shown["features"]} == {"found", "never"}
        (model,) = shown["models"]
        assert (model["name"], model["version"], model["ready"], model["is_default"]) == ("probe", "1.0", 1, True)
        console.process.send_signal(signal.SIGTERM)
        assert console.process.wait(PATIENCE) == 0
    assert all(json.loads(line)["message"] for line in console.log.read_text().splitlines())


def test_alerts_fire_when_something_is_wrong(watched: Watched) -> None:
    epoch = max(shard.status().epoch for shard in watched.shards)
    watched.write_packet(2, 3.0, seconds_ago=200)
    wait_until(lambda: all(shard.status().epoch > epoch for shard in watched.shards), "the late packet is served")
    watched.write_packet(3, math.nan)
    wait_until(lambda: all(shard.status().epoch > epoch + 1 for shard in watched.shards), "the packet with NaN is served")
    wait_for_alerts(watched, {"PersiaRowsOld", "PersiaRowsNotFinite"})
    watched.write_packet(4, 0.0, spoilt=True)
    wait_until(lambda: watched.shards[0].status().set_aside, "the broken packet is set aside")
    watched.damage_the_log_of_epochs()
    scaled = ask(watched.models.management("models/probe?min_worker=0&max_worker=0&synchronous=true"), method="PUT")
    assert scaled.status == 200, scaled.body
    expected = ALERTS - NOT_HERE
    before_a_shard_is_gone = expected - {"PersiaServerDown", "PersiaShardDown", "PersiaReplicaDown", "PersiaLookupsFail"}

    def stir() -> None:
        watched.look_up("never")
        _ask_too_much(watched.shards[0])
        with suppress(grpc.RpcError):
            watched.look_up(variant="misspelt")
        with suppress(grpc.RpcError):
            watched.models.predict("probe", do="echo")

    wait_for_alerts(watched, before_a_shard_is_gone, stir)
    watched.shards[1].kill()

    def look_up() -> None:
        with suppress(grpc.RpcError):
            watched.look_up()

    wait_for_alerts(watched, expected, look_up)


def wait_for_alerts(watched: Watched, expected: set[str], meanwhile: Callable[[], None] = lambda: None) -> None:
    """Until these alerts fire, and no others."""
    firing: set[str] = set()

    def all_fire() -> bool:
        nonlocal firing
        meanwhile()
        firing = watched.prometheus.firing()
        return firing >= expected

    with suppress(AssertionError):
        wait_until(all_fire, "all alerts fire", 30)
    assert firing == expected


def _ask_too_much(shard: EmbeddingServer) -> None:
    """For an answer that gRPC would not take."""
    parts = np.array([0, 0, 65_535, 1, 2000, 0], np.uint32)
    with suppress(grpc.RpcError):
        shard.stub.Lookup(pb.LookupRequest(parts=parts.tobytes(), signs=bytes(8 * 2000)))


def test_the_dashboard_finds_what_it_shows(watched: Watched, tmp_path: Path) -> None:
    """After all of the above, so that there are errors, too. Of the watch for drift there is a page without values."""
    registry = CollectorRegistry()
    registry.register(DriftMetrics(Asked(tmp_path)))
    drift = set(re.findall(r"^# TYPE (\w+)", generate_latest(registry).decode(), re.MULTILINE))
    known = watched.prometheus.names() | drift
    named = {name for expr in EXPRESSIONS for name in re.findall(r"[\w:]*\bpersia_[a-z_0-9]+(?::\w+)?", expr)}
    assert len(named) > 40 and named - known == set()
    empty = []
    for expr in EXPRESSIONS:
        series = watched.prometheus.query(expr.replace("$__rate_interval", "5m"))
        if not series and "persia_drift" not in expr:
            empty.append(expr)
    assert empty == []
