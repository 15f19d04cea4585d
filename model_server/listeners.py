"""Where a model server listens: REST for predictions, management and metrics, and gRPC for the first two."""

from __future__ import annotations

from collections.abc import Sequence

from persia._core.inference import Answers, ExchangeQueue, HttpServer, Models, Reactor
from persia.serving.server import THREADS, Server

from .management import THREADS as MANAGEMENT_THREADS
from .open_inference.grpc_service import SERVICES
from .protection import Protection
from .rpc import INFERENCE, MANAGEMENT
from .settings import Settings

__all__ = ["Listeners"]


class Listeners:
    """`lines`: what the native core leaves to Python, by the listener over which it came. `grpc`: the servers by name."""

    def __init__(self, settings: Settings, protection: Protection, reactor: Reactor, models: Models, answers: Answers) -> None:
        """Raises ConfigError."""
        self._settings = settings
        self._protection = protection
        self._reactor = reactor
        self._answers = answers
        self.lines = {name: ExchangeQueue() for name in ("inference", "management", "metrics")}
        self._http = {"inference": self._http_server("inference", models), "management": self._http_server("management")}
        if settings.metrics.offered:
            self._http["metrics"] = self._http_server("metrics")
        self.grpc = {
            "grpc_inference": self._grpc_server("grpc_inference", [INFERENCE, *SERVICES]),
            "grpc_management": self._grpc_server("grpc_management", [MANAGEMENT], MANAGEMENT_THREADS),
        }

    def listen(self) -> dict[str, str]:
        """The addresses with their ports. Raises Unavailable, InvalidInput, ConfigError, OSError."""
        settings = self._settings
        wanted = {
            "inference": settings.inference,
            "management": settings.management,
            "metrics": settings.metrics.address,
            "grpc_inference": settings.grpc_inference,
            "grpc_management": settings.grpc_management,
        }
        servers: dict[str, HttpServer | Server] = {**self._http, **self.grpc}
        for name in servers:
            self._protection.check(name, wanted[name])
        return {name: server.listen(wanted[name]) for name, server in servers.items()}

    def start(self) -> None:
        """Calls over gRPC are answered from now on; HTTP needs those who take from the lines."""
        for server in self.grpc.values():
            server.start()
            server.set_serving(True)

    def stop(self, seconds: float) -> None:
        """Takes nothing more, and lets what runs finish for so long."""
        for server in self.grpc.values():
            server.leave()
        for http in self._http.values():
            http.stop(seconds)
        for server in self.grpc.values():
            server.stop(seconds)

    def _http_server(self, listener: str, models: Models | None = None) -> HttpServer:
        return HttpServer(
            self._reactor,
            self.lines[listener],
            models=models,
            guard=self._protection.guard(listener),
            key_guard=self._protection.key_guard if listener == "management" else None,
            answers=self._answers,
            cors=self._settings.access.cors,
            max_body_bytes=self._settings.max_request_size,
            tls=self._protection.tls(listener),
        )

    def _grpc_server(self, listener: str, services: Sequence[str], threads: int = THREADS) -> Server:
        protection = self._protection
        server = Server(services, guard=protection.guard(listener), tls=protection.tls(listener), threads=threads)
        server.native.set_observer(self._answers)
        return server
