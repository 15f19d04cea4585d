"""The processes that a deployment consists of, and in which order."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grpc_health.v1 import health_pb2

from persia.cli.log_lines import FORMAT_VARIABLE
from persia.deployment.child import Child
from persia.deployment.plan import DeploymentPlan
from persia.deployment.targets import TARGETS_FILE, metrics_ports, write_targets
from persia.errors import PersiaError, Unavailable
from persia.rpc.call import call
from persia.rpc.wire import HEALTH_CHECK
from persia.security import ClientSecurity
from persia.service import SERVICE_VARIABLE
from persia.system.address import check_free, free_ports, host_and_port, is_free, join_address
from persia.torchserve.ready_line import ReadyLine, find_ready_line
from persia.torchserve.state import LOCK_FILE

__all__ = ["Deployment"]

# A checkpoint of hundreds of gigabytes takes its time; a process that ends is noticed at once.
START_SECONDS = 24 * 3600.0
# The others drain for 10 s, TorchServe for as long as it is told.
STOP_SECONDS = 15.0
MIDDLEWARE = "middleware"
# Not among those that are found for the servers.
METRICS_PORTS = range(15_000, 20_000)


@dataclass
class Deployment:
    """start() and stop() once each; watch() in between. For one thread."""

    plan: DeploymentPlan
    say: Callable[[str], None]
    pause: Callable[[float], bool]  # see Child.wait_ready
    children: list[Child] = field(default_factory=list)
    front: Child | None = None
    metrics_ports: Mapping[str, int] = field(default_factory=dict)  # by the name of a process

    def start(self) -> None:
        """Returns when all is ready. Raises Unavailable, Interrupted; what was started by then is to be stopped."""
        plan = self.plan
        places = {
            f"embedding-server-{i}{'' if len(replicas) == 1 else f'-{k}'}": (address, i, k)
            for i, replicas in enumerate(plan.servers)
            for k, address in enumerate(replicas)
        }
        # An older deployment's servers would be taken for ours.
        check_free([*(address for address, _, _ in places.values()), plan.middleware])
        if plan.model_store is not None:
            own_directory(plan.front_state)
        if plan.metrics:
            self._allot_metrics(places)
        else:
            (plan.state / TARGETS_FILE).unlink(missing_ok=True)
        begun = [
            self._serve(name, "embedding-server", address, i, len(plan.servers)) for name, (address, i, _) in places.items()
        ]
        for child in begun:
            child.wait_ready(START_SECONDS, self.pause)
        self.say(f"{len(begun)} embedding server{'s are' if len(begun) > 1 else ' is'} ready{self._scraped(*places)}")
        self._serve(MIDDLEWARE, "middleware", plan.middleware, 0, 1).wait_ready(START_SECONDS, self.pause)
        self.say(f"the middleware is ready on {plan.middleware}{self._scraped(MIDDLEWARE)}")
        if plan.model_store is not None:
            self._start_front(plan.model_store)

    def watch(self) -> None:
        """Starts again what has died, and says when it is back."""
        for child in self.children:
            if child.watch():
                self.say(f"{child.name} is ready again" if child is not self.front else self._front_line())

    def stop(self) -> None:
        """In reverse: who asks goes before who is asked."""
        for child in reversed(self.children):
            child.stop(STOP_SECONDS + (self.plan.given.drain_seconds if child is self.front else 0.0))

    def endpoints(self) -> tuple[str, str, str]:
        """The front's addresses for inference and management, and its token file, "" without tokens. REQUIRES: it is ready."""
        ready = self._ready()
        if ready is None:
            raise Unavailable(f"{self.plan.front.title} is not ready")
        return ready.inference, ready.management, ready.token_file

    def _serve(self, name: str, command: str, address: str, index: int, count: int) -> Child:
        host, port = host_and_port(address)
        arguments = [command, "--host", host, "--port", port]
        arguments += ["--global-config", str(self.plan.global_config), "--embedding-config", str(self.plan.embedding_config)]
        arguments += ["--replica-index", str(index), "--replica-size", str(count)]
        if name in self.metrics_ports:
            arguments += ["--metrics-port", str(self.metrics_ports[name])]
        return self._add(
            Child(
                name,
                _launcher(arguments),
                self.plan.state / f"{name}.log",
                lambda: _is_serving(address, self.plan.security),
                {FORMAT_VARIABLE: self.plan.log_format},
            )
        )

    def _allot_metrics(self, servers: Mapping[str, tuple[str, int, int]]) -> None:
        """servers: name, and address, shard, and replica. Raises Unavailable, InvalidInput, OSError."""
        state, base = self.plan.state, self.plan.metrics_port_base
        ports = metrics_ports([*servers, MIDDLEWARE], base, state, lambda count: free_ports(count, METRICS_PORTS), _is_free)
        hosts = {name: host_and_port(address)[0] for name, (address, _, _) in servers.items()}
        addresses = {name: join_address(hosts.get(name, "127.0.0.1"), port) for name, port in ports.items()}
        check_free(list(addresses.values()))
        labels = {
            name: {"service": "embedding-server", "shard": str(shard), "replica": str(replica)}
            for name, (_, shard, replica) in servers.items()
        }
        path = write_targets(state, addresses, {**labels, MIDDLEWARE: {"service": "middleware"}})
        self.metrics_ports = ports
        self.say(f"metrics are offered to Prometheus, whose targets are in {path}")

    def _scraped(self, *names: str) -> str:
        ports = [str(self.metrics_ports[name]) for name in names if name in self.metrics_ports]
        return f", metrics on port{'s' if len(ports) > 1 else ''} {', '.join(ports)}" if ports else ""

    def _start_front(self, store: Path) -> None:
        plan = self.plan
        # In one place for all of its lives: so callers find the tokens of the next one where they have read the last one's.
        arguments = [plan.front.value, "--model-store", str(store), "--state", str(plan.front_state)]
        if plan.ts_config is not None:
            arguments += ["--ts-config", str(plan.ts_config)]
        arguments += plan.front_arguments
        if plan.models:
            arguments += ["--models", ",".join(plan.models)]
        environment = {
            FORMAT_VARIABLE: plan.log_format,
            SERVICE_VARIABLE: plan.middleware,
            "PERSIA_GLOBAL_CONFIG": str(plan.global_config),
            "PERSIA_EMBEDDING_CONFIG": str(plan.embedding_config),
        }
        log_path = plan.state / f"{plan.front.value}.log"
        child = Child(plan.front.value, _launcher(arguments), log_path, lambda: self._ready() is not None, environment)
        self.front = child
        self._add(child).wait_ready(START_SECONDS, self.pause)
        self.say(self._front_line())

    def _front_line(self) -> str:
        ready = self._ready()
        assert ready is not None
        return f"{self.plan.front.title} is {ready}"

    def _ready(self) -> ReadyLine | None:
        return find_ready_line(self.front.said()) if self.front is not None else None

    def _add(self, child: Child) -> Child:
        self.children.append(child)
        child.start()
        return child


def _launcher(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "persia.launcher", *arguments]


def _is_serving(address: str, security: ClientSecurity | None) -> bool:
    with contextlib.suppress(PersiaError):
        answer = call(address, HEALTH_CHECK, health_pb2.HealthCheckRequest(), 1, security)
        return bool(health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.SERVING)
    return False


def _is_free(port: int) -> bool:
    return is_free(join_address("127.0.0.1", port))


def own_directory(path: Path) -> None:
    """Makes the front's state directory known as such: who looks for its tokens there is to wait, though it starts last."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not any(path.iterdir()):
        (path / LOCK_FILE).touch(0o600)
