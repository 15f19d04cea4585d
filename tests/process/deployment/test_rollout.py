"""What `persia-launcher rollout plan` prints is what Helm and kubectl take, and loses no lookup."""

from __future__ import annotations

import shlex
import subprocess
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import yaml

from persia.batch import IDTypeFeature, PersiaBatch
from persia.ctx import InferCtx
from persia.errors import PersiaError
from persia.rollout.release import read_release
from persia.rollout.steps import Target, plan_rollout
from persia.writers import write_checkpoint
from tests.support.charts import ENVIRONMENT, HELM, Document, needs_helm, of_kind, run_helm, values_of
from tests.support.middlewares import Middleware
from tests.support.places import ROOT
from tests.support.servers import PATIENCE, EmbeddingServer, free_port, wait_until


def commands_of(case: str, target: Target, tier: str | None = None) -> list[list[str]]:
    values = yaml.safe_load(Path(values_of(case)).read_text())
    tier_values = yaml.safe_load(Path(values_of(tier)).read_text()) if tier else None
    steps = plan_rollout(read_release(values, tier_values, "ctr", "serving"), target)
    return [shlex.split(command.partition(" > ")[0]) for step in steps for command in step.commands]


@pytest.mark.parametrize(("case", "tier"), [("plain", None), ("all", None), ("front", "tier")])
def test_helm_takes_what_is_planned(case: str, tier: str | None) -> None:
    """Each `install` and `upgrade` with the values of the release, as `helm template` renders them."""
    needs_helm()
    rendered: list[list[Document]] = []
    switched_to: list[str] = []
    for program, verb, *arguments in commands_of(case, Target(shards=8, chart=str(ROOT / Target().chart)), tier):
        if program == "helm" and verb in ("install", "upgrade"):
            words = [word for word in arguments if word != "--reuse-values"]
            if "--values" in words:
                del words[words.index("--values") : words.index("--values") + 2]
            of = tier if verb == "install" and tier else case
            if words[-2:] == ["--set", "shards.count=0"]:  # after the switch, whose settings are values then
                words = [*words[:-2], *switched_to, *words[-2:]]
            elif verb == "upgrade" and not switched_to:
                switched_to = words[words.index("--set-string") :]
            done = run_helm("template", *words, "--values", values_of(of))
            assert done.returncode == 0, done.stderr
            rendered.append([one for one in yaml.safe_load_all(done.stdout) if one])
    started, switched, back, *ended = rendered
    assert len(of_kind(started, "Deployment")) == 8
    routes = [
        yaml.safe_load(of_kind(one, "ConfigMap")["ctr-middleware"]["data"]["global_config.yaml"]) for one in (switched, back)
    ]
    servers = [config["common_config"]["infer_config"]["servers"] for config in routes]
    assert [len(one) for one in servers] == [8, 4 if tier else 2]
    (name,) = {host.rpartition("-shard-")[0] for host in servers[0]}
    assert {f"{name}-shard-{shard}" for shard in range(8)} == set(of_kind(started, "Deployment"))
    for last in ended:
        assert not [one for one in of_kind(last, "Deployment") if "shard" in one]


def test_kubectl_knows_the_options_that_are_planned() -> None:
    """Without a cluster it says that there is none; of an unknown option it would say that first."""
    needs_helm()
    planned = commands_of("plain", Target(shards=8)) + commands_of("all", Target(checkpoint="s3://models/ctr/new"))
    asked = [words for words in planned if words[0] == "kubectl"]
    assert {words[3] for words in asked} == {"wait", "rollout", "exec"}
    for verb in ("wait", "rollout", "exec"):
        words = next(words for words in asked if words[3] == verb)
        command = [str(HELM.with_name("kubectl")), "--server", "http://127.0.0.1:1", *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE, check=False)
        assert done.returncode != 0 and "refused" in done.stderr, done.stderr


OLD, NEW = 1.0, 2.0
IDS = 200


def test_no_lookup_is_lost_and_none_mixed_while_middlewares_change_to_more_shards(tmp_path: Path) -> None:
    """From one shard to two, which have another checkpoint besides, under a client that asks all the time."""
    with ExitStack() as stack:
        old = start_tier(stack, tmp_path / "old", 1, OLD)
        new = start_tier(stack, tmp_path / "new", 2, NEW)
        ports = [str(free_port()) for _ in range(2)]
        running = [start_middleware(stack, tmp_path / f"m{n}", old, port).wait_ready() for n, port in enumerate(ports)]
        asking = stack.enter_context(Asking([f"127.0.0.1:{port}" for port in ports]))
        wait_until(lambda: asking.seen[OLD] > 20, "lookups are answered")
        for number, port in enumerate(ports):
            assert running[number].terminate() == 0
            start_middleware(stack, tmp_path / f"m{number}-new", new, port).wait_ready()
        before = asking.seen[NEW]
        wait_until(lambda: asking.seen[NEW] > before + 50, "lookups are answered by the new servers")
        asking.stop()
        assert asking.failures == []
        assert set(asking.seen) == {OLD, NEW}
        last = asking.last
    assert last == NEW


class Asking(threading.Thread):
    """A client that asks until it is stopped, as handlers do: the servers directly, as a middleware says."""

    def __init__(self, addresses: list[str]) -> None:
        super().__init__()
        self.addresses = addresses
        self.seen: Counter[float] = Counter()
        self.failures: list[str] = []
        self.last = 0.0
        self._stopped = threading.Event()

    def run(self) -> None:
        ids = [np.arange(IDS, dtype=np.uint64)]
        batch = PersiaBatch([IDTypeFeature("user", ids)], requires_grad=False).to_bytes()
        with InferCtx(self.addresses) as context:
            context.wait_for_serving(PATIENCE)
            while not self._stopped.is_set():
                try:
                    found = context.get_embedding_from_bytes(batch)
                except PersiaError as error:
                    self.failures.append(repr(error))
                    continue
                (sums,) = set(found.lookup.numbers.tolist())  # of rows that are all the same
                self.last = sums / IDS
                self.seen[self.last] += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join(PATIENCE)

    def __enter__(self) -> Asking:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_tier(stack: ExitStack, directory: Path, count: int, value: float) -> list[str]:
    """The addresses of so many shards whose rows all have this value."""
    directory.mkdir()
    signs = np.arange(IDS, dtype=np.uint64) + np.uint64(1 << 56)
    write_checkpoint(directory / "ckpt", [(signs, np.full((IDS, 4), value, np.float32))], shards=1)
    config, checkpoint = config_in(directory), directory / "ckpt"
    servers = [
        stack.enter_context(EmbeddingServer(directory / str(index), config, checkpoint=checkpoint, index=index, count=count))
        for index in range(count)
    ]
    return [server.wait_ready().address for server in servers]


def start_middleware(stack: ExitStack, directory: Path, servers: list[str], port: str) -> Middleware:
    directory.mkdir()
    return stack.enter_context(Middleware(directory, config_in(directory), servers, arguments=["--port", port]))


def config_in(directory: Path) -> Path:
    path = directory / "embedding_config.yml"
    path.write_text("feature_index_prefix_bit: 8\nslots_config: {user: {dim: 4}}\n")
    return path
