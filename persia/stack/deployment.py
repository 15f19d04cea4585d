"""The processes that a deployment consists of, and in which order."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grpc_health.v1 import health_pb2

from persia.errors import InvalidInput, PersiaError, Unavailable
from persia.rpc.call import call
from persia.rpc.methods import HEALTH_CHECK
from persia.security import ClientSecurity
from persia.service import SERVICE_VARIABLE
from persia.stack.child import Child
from persia.stack.scrape import TARGETS_FILE, metrics_ports, write_targets
from persia.torchserve.state import LOCK_FILE

__all__ = ["Deployment", "Plan", "Ready", "check_free", "check_local", "drain_seconds", "free_ports", "number_of"]

# A checkpoint of hundreds of gigabytes takes its time; a process that ends is noticed at once.
START_SECONDS = 24 * 3600.0
# The others drain for 10 s, TorchServe for as long as it is told.
STOP_SECONDS = 15.0
DRAIN_SECONDS = 30.0
MIDDLEWARE = "middleware"
# Not among those that are found for the servers.
METRICS_PORTS = range(15_000, 20_000)
# What the launcher of TorchServe says. Only what is always there is asked for: a line not understood is waited for in vain.
_READY = re.compile(r"^.*ready: (inference on ([^\s,]+), management on ([^\s,]+)(?:,.*)?)$", re.MULTILINE)
_TOKENS = re.compile(r", tokens in (.+?)(?=, logs in |$)")


@dataclass(frozen=True)
class Plan:
    """What is to run. Addresses are of this machine."""

    state: Path  # logs
    global_config: Path
    embedding_config: Path
    servers: Sequence[Sequence[str]]  # for each shard its replicas
    middleware: str
    model_store: Path | None = None  # None: without TorchServe
    models: Sequence[str] = ()
    torchserve_arguments: Sequence[str] = ()
    ts_config: Path | None = None
    metrics: bool = False  # whether servers and middleware offer them
    security: ClientSecurity | None = None  # of servers and middleware
    metrics_port_base: int | None = None  # None: ports that are kept in `state`

    @property
    def torchserve_state(self) -> Path:
        return self.state / "ts"


@dataclass(frozen=True)
class Ready:
    """What a TorchServe says once it is ready."""

    line: str
    inference: str  # address
    management: str
    token_file: str  # empty: it runs without tokens

    @classmethod
    def find(cls, said: str) -> Ready | None:
        """None if it is not ready yet."""
        if (match := _READY.search(said)) is None:
            return None
        tokens = _TOKENS.search(match[1])
        return cls(match[1], match[2], match[3], tokens[1] if tokens else "")


@dataclass
class Deployment:
    """start() and stop() once each; watch() in between. For one thread."""

    plan: Plan
    say: Callable[[str], None]
    pause: Callable[[float], bool]  # see Child.wait_ready
    children: list[Child] = field(default_factory=list)
    torchserve: Child | None = None
    metrics_ports: Mapping[str, int] = field(default_factory=dict)  # by the name of a process

    def start(self) -> None:
        """Returns when all is ready. Raises Unavailable, Interrupted; what was started by then is to be stopped."""
        plan = self.plan
        places = {
            f"embedding-server-{i}{'' if len(replicas) == 1 else f'-{k}'}": (address, i, k)
            for i, replicas in enumerate(plan.servers)
            for k, address in enumerate(replicas)
        }
        check_free([*(address for address, _, _ in places.values()), plan.middleware])
        if plan.model_store is not None:
            own_directory(plan.torchserve_state)
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
            self._start_torchserve(plan.model_store)

    def watch(self) -> None:
        """Starts again what has died, and says when it is back."""
        for child in self.children:
            if child.watch():
                self.say(f"{child.name} is ready again" if child is not self.torchserve else self._torchserve_line())

    def stop(self) -> None:
        """In reverse: who asks goes before who is asked."""
        for child in reversed(self.children):
            child.stop(STOP_SECONDS + (drain_seconds(self.plan.torchserve_arguments) if child is self.torchserve else 0.0))

    def endpoints(self) -> tuple[str, str, str]:
        """TorchServe's addresses for inference and management, and its token file, "" without tokens. REQUIRES: it is ready."""
        ready = self._ready()
        if ready is None:
            raise Unavailable("TorchServe is not ready")
        return ready.inference, ready.management, ready.token_file

    def _serve(self, name: str, command: str, address: str, index: int, count: int) -> Child:
        host, _, port = address.rpartition(":")
        arguments = [command, "--host", host.strip("[]"), "--port", port]
        arguments += ["--global-config", str(self.plan.global_config), "--embedding-config", str(self.plan.embedding_config)]
        arguments += ["--replica-index", str(index), "--replica-size", str(count)]
        if name in self.metrics_ports:
            arguments += ["--metrics-port", str(self.metrics_ports[name])]
        return self._add(
            Child(name, _launcher(arguments), self.plan.state / f"{name}.log", lambda: _is_serving(address, self.plan.security))
        )

    def _allot_metrics(self, servers: Mapping[str, tuple[str, int, int]]) -> None:
        """servers: name, and address, shard, and replica. Raises Unavailable, InvalidInput, OSError."""
        state, base = self.plan.state, self.plan.metrics_port_base
        ports = metrics_ports([*servers, MIDDLEWARE], base, state, lambda count: free_ports(count, METRICS_PORTS), _is_free)
        hosts = {name: address.rpartition(":")[0] for name, (address, _, _) in servers.items()}
        addresses = {name: f"{hosts.get(name, '127.0.0.1')}:{port}" for name, port in ports.items()}
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

    def _start_torchserve(self, store: Path) -> None:
        # In one place for all of its lives: so callers find the tokens of the next one where they have read the last one's.
        arguments = ["torchserve", "--model-store", str(store), "--state", str(self.plan.torchserve_state)]
        if self.plan.ts_config is not None:
            arguments += ["--ts-config", str(self.plan.ts_config)]
        arguments += self.plan.torchserve_arguments
        if self.plan.models:
            arguments += ["--models", ",".join(self.plan.models)]
        environment = {
            SERVICE_VARIABLE: self.plan.middleware,
            "PERSIA_GLOBAL_CONFIG": str(self.plan.global_config),
            "PERSIA_EMBEDDING_CONFIG": str(self.plan.embedding_config),
        }
        log_path = self.plan.state / "torchserve.log"
        child = Child("torchserve", _launcher(arguments), log_path, lambda: self._ready() is not None, environment)
        self.torchserve = child
        self._add(child).wait_ready(START_SECONDS, self.pause)
        self.say(self._torchserve_line())

    def _torchserve_line(self) -> str:
        ready = self._ready()
        assert ready is not None
        return f"TorchServe is ready: {ready.line}"

    def _ready(self) -> Ready | None:
        return Ready.find(self.torchserve.said()) if self.torchserve is not None else None

    def _add(self, child: Child) -> Child:
        self.children.append(child)
        child.start()
        return child


def drain_seconds(arguments: Sequence[str]) -> float:
    """What TorchServe's launcher is told by `--drain`, or does by itself."""
    drain = number_of("--drain", arguments)
    return DRAIN_SECONDS if drain is None else float(drain)


def number_of(option: str, arguments: Sequence[str]) -> str | None:
    """The last number that an option has in a command line, where it stands as `--port 7070` or `--port=7070`."""
    found = re.findall(rf"(?:^|\n){option}[=\n](\d+(?:\.\d+)?)(?=\n|$)", "\n".join(arguments))
    return found[-1] if found else None


def _launcher(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "persia.launcher", *arguments]


def _is_serving(address: str, security: ClientSecurity | None) -> bool:
    with contextlib.suppress(PersiaError):
        answer = call(address, HEALTH_CHECK, health_pb2.HealthCheckRequest(), 1, security)
        return bool(health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.SERVING)
    return False


def own_directory(path: Path) -> None:
    """Makes TorchServe's state directory known as such: who looks for its tokens there is to wait, though it starts last."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not any(path.iterdir()):
        (path / LOCK_FILE).touch(0o600)


def _is_free(port: int) -> bool:
    try:
        check_free([f"127.0.0.1:{port}"])
    except Unavailable:
        return False
    return True


def free_ports(count: int, among: range = range(20_000, 25_000)) -> list[int]:
    """Ports of the loopback address that nobody listens on. Below those that the system gives to clients.

    At random: of two who look at the same time and listen later, both would find the first ones.
    """
    found: list[int] = []
    for port in random.sample(among, len(among)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise Unavailable(f"expected {count} free ports from {among.start} to {among.stop - 1}, got {len(found)}")


def check_free(addresses: Sequence[str]) -> None:
    """Raises Unavailable unless all of them can be listened on: an older deployment's servers would be taken for ours."""
    with contextlib.ExitStack() as held:
        for address in addresses:
            host, _, port = address.rpartition(":")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                held.enter_context(socket.create_server((host.strip("[]"), int(port)), family=family))
            except OSError as error:
                raise Unavailable(f"expected a free address to listen on, got {address}: {error.strerror}") from None


def check_local(addresses: Sequence[str]) -> None:
    """Raises InvalidInput unless all of them are loopback addresses: processes are started on this machine only."""
    for address in addresses:
        host = address.rpartition(":")[0].strip("[]")
        if host != "localhost" and not host.startswith("127.") and host != "::1":
            raise InvalidInput(f"expected servers on this machine (127.0.0.1), got {address}: start it where it belongs")
