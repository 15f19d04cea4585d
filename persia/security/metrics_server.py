"""Metrics over HTTP for Prometheus, which shows the certificate and the token that any other caller shows."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

from persia import _core
from persia.config.security import SecurityConfig

__all__ = ["MetricsServer"]

_PATIENCE_SECONDS = 10.0


class MetricsServer(ThreadingHTTPServer):
    """Bound on construction. start() and close() once each."""

    daemon_threads = True

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, config: SecurityConfig, guard: _core.security.Guard | None
    ) -> None:
        """host: a name or an address, without brackets; guard: who may ask, None: everybody. Raises OSError, ssl.SSLError."""
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        self.guard = guard
        self._certificates = _Certificates(config) if config.certificate else None
        super().__init__((host, port), _handler_of(registry))
        self._thread = threading.Thread(target=self.serve_forever, name="metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In a thread of the connection's: so a handshake holds up nobody else."""
        request.settimeout(_PATIENCE_SECONDS)
        if self._certificates is None:
            super().finish_request(request, client_address)
            return
        try:
            encrypted = self._certificates.context().wrap_socket(request, server_side=True)
        except OSError:  # of ssl, too: no TLS, or no certificate that is trusted
            return
        with encrypted:
            super().finish_request(encrypted, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is no news."""


class _Certificates:
    """Those of the section `security`, read again when they change."""

    def __init__(self, config: SecurityConfig) -> None:
        self._config = config
        self._mutex = threading.Lock()
        self._versions = self._versions_now()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        with self._mutex:
            versions = self._versions_now()
            if versions != self._versions:
                self._versions = versions
                with suppress(OSError):  # gRPC's own context logs what is wrong with the files
                    self._context = self._load()
            return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(self._config.certificate), self._config.key)
        if self._config.client_ca is not None:
            context.load_verify_locations(self._config.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _versions_now(self) -> list[tuple[int, int, int] | None]:
        return [_version(path) for path in (self._config.certificate, self._config.key, self._config.client_ca) if path]


def _version(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _handler_of(registry: CollectorRegistry) -> type[MetricsHandler]:
    class Handler(MetricsHandler):
        server: MetricsServer

        def do_GET(self) -> None:
            if self._may_ask():
                super().do_GET()
            else:
                self.send_response(HTTPStatus.UNAUTHORIZED)
                self.send_header("WWW-Authenticate", "Bearer")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _may_ask(self) -> bool:
            guard = self.server.guard
            # One that was not shown, or not trusted, has ended the handshake.
            certificate = "metrics" if isinstance(self.connection, ssl.SSLSocket) and self.connection.getpeercert() else ""
            return guard is None or guard.identity_of(self.headers.get("Authorization", ""), certificate) is not None

    Handler.registry = registry
    return Handler
