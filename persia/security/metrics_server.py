"""Metrics over HTTP for Prometheus, which shows the certificate and the token that any other caller shows."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

from persia import _core
from persia.config.security import SecurityConfig
from persia.security.http_server import GuardedHandler, GuardedServer

__all__ = ["MetricsServer"]


class MetricsServer(GuardedServer):
    """Bound on construction. start() and close() once each."""

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, config: SecurityConfig, guard: _core.security.Guard | None
    ) -> None:
        """As a GuardedServer. Raises OSError, ssl.SSLError."""
        super().__init__(host, port, _handler_of(registry), config, guard, "metrics")


def _handler_of(registry: CollectorRegistry) -> type[GuardedHandler]:
    class Handler(GuardedHandler, MetricsHandler):
        def do_GET(self) -> None:
            if self.may_ask():
                super().do_GET()
            else:
                self.refuse()

    Handler.registry = registry
    return Handler
