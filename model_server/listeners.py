"""Where a model server listens: REST for predictions, management and metrics, and gRPC for the first two.

Listeners of REST that have the same address are one, as in TorchServe.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from persia._core.inference import AnswerObserver, ExchangeQueue, HttpServer, Models, Reactor
from persia.errors import ConfigError
from persia.serving.server import THREADS, Server
from persia.system.address import host_and_port
from persia.torchserve.schema import DESCRIPTORS

from .management import THREADS as MANAGEMENT_THREADS
from .open_inference.grpc_service import SERVICES
from .protection import Protection
from .rpc import INFERENCE, MANAGEMENT
from .settings import Settings

__all__ = ["Listeners", "Roles"]

# What a listener of REST answers: of "inference", "management" and "metrics" one or several.
Roles = tuple[str, ...]
_FILE = "config.properties"
_BOTH = ("inference", "management")  # where they are one, the metrics are there as well, also if they have their own address


class Listeners:
    """`lines`: what the native core leaves to Python, by the roles of the listener over which it came. `grpc`: by name."""

    def __init__(
        self, settings: Settings, protection: Protection, reactor: Reactor, models: Models, answers: AnswerObserver
    ) -> None:
        """Raises ConfigError."""
        self._settings = settings
        self._protection = protection
        self._reactor = reactor
        self._answers = answers
        rest = {"inference": settings.inference, "management": settings.management}
        if settings.metrics.offered:
            rest["metrics"] = settings.metrics.address
        over_grpc = {"grpc_inference": settings.grpc_inference, "grpc_management": settings.grpc_management}
        together = _by_address(rest)
        _check(together, over_grpc, settings.access.encrypted)
        if settings.metrics.offered:
            together = [(*roles, "metrics") if roles == _BOTH else roles for roles in together]
        self._addresses = rest | over_grpc
        self.lines = {roles: ExchangeQueue() for roles in together}
        self._http = {roles: self._http_server(roles, models) for roles in together}
        self.grpc = {
            "grpc_inference": self._grpc_server("grpc_inference", [INFERENCE, *SERVICES]),
            "grpc_management": self._grpc_server("grpc_management", [MANAGEMENT], MANAGEMENT_THREADS),
        }

    def listen(self) -> dict[str, str]:
        """The addresses with their ports. Raises Unavailable, InvalidInput, ConfigError, OSError."""
        for name, address in self._addresses.items():
            self._protection.check(name, address)
        listening = {roles: server.listen(self._addresses[roles[0]]) for roles, server in self._http.items()}
        over_grpc = {name: server.listen(self._addresses[name]) for name, server in self.grpc.items()}
        return {name: address for roles, address in listening.items() for name in roles} | over_grpc

    @property
    def refused_clients(self) -> list[Callable[[], tuple[list[str], int]]]:
        """Each takes those of one listener of REST with which no TLS could be agreed on."""
        return [server.take_refused_clients for server in self._http.values()]

    def start(self) -> None:
        """Calls over gRPC are answered from now on; HTTP needs those who take from the lines."""
        for server in self.grpc.values():
            server.start()
        self.grpc["grpc_management"].set_serving(True)

    def stop(self, seconds: float) -> None:
        """Takes nothing more, and lets what runs finish for so long."""
        for server in self.grpc.values():
            server.leave()
        for http in self._http.values():
            http.stop(seconds)
        for server in self.grpc.values():
            server.stop(seconds)

    def _http_server(self, roles: Roles, models: Models) -> HttpServer:
        return HttpServer(
            self._reactor,
            self.lines[roles],
            models=models if "inference" in roles else None,
            guard=self._protection.guard(roles[0]),
            guards_of_paths=self._protection.guards_of_paths(roles),
            answers=self._answers,
            cors=self._settings.access.cors,
            max_body_bytes=self._settings.max_request_size,
            tls=self._protection.tls(roles[0]),
        )

    def _grpc_server(self, listener: str, services: Sequence[str], threads: int = THREADS) -> Server:
        protection = self._protection
        server = Server(
            services,
            descriptors=DESCRIPTORS,
            guard=protection.guard(listener),
            tls=protection.tls(listener),
            threads=threads,
        )
        server.native.set_observer(self._answers)
        return server


def _by_address(addresses: Mapping[str, str]) -> list[Roles]:
    """Those that listen at the same address together; with port 0 each gets another one."""
    together: dict[str, Roles] = {}
    for name, address in addresses.items():
        key = name if _is_any(address) else address
        together[key] = (*together.get(key, ()), name)
    return list(together.values())


def _is_any(address: str) -> bool:
    return not address.startswith("unix:") and host_and_port(address)[1] == "0"


def _check(together: Sequence[Roles], over_grpc: Mapping[str, str], encrypted: Collection[str]) -> None:
    """Raises ConfigError."""
    for roles in together:
        if len({role in encrypted for role in roles}) > 1:
            names = " and ".join(f"{role}_address" for role in roles)
            raise ConfigError(f"{names} are the same: expected https for all of them or for none, got both", _FILE)
    first, second = over_grpc.values()
    if first == second and not _is_any(first):
        raise ConfigError(
            f"expected two addresses for gRPC, got {first} for inference and management: write another grpc_management_port, "
            "as TorchServe needs it, too",
            _FILE,
        )
