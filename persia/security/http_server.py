"""Pages over HTTP, for those who show the certificate and the token that any other caller shows."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from persia import _core
from persia.config.security import SecurityConfig

__all__ = ["GuardedHandler", "GuardedServer"]

_PATIENCE_SECONDS = 10.0


class GuardedServer(ThreadingHTTPServer):
    """Bound on construction. start() and close() once each."""

    daemon_threads = True

    def __init__(
        self,
        host: str,
        port: int,
        handler: type[GuardedHandler],
        config: SecurityConfig,
        guard: _core.security.Guard | None,
        name: str,
    ) -> None:
        """host: a name or an address, without brackets; guard: who may ask, None: everybody. Raises OSError, ssl.SSLError."""
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        self.guard = guard
        self._certificates = _Certificates(config) if config.certificate else None
        super().__init__((host, port), handler)
        self._thread = threading.Thread(target=self.serve_forever, name=name, daemon=True)

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


class GuardedHandler(BaseHTTPRequestHandler):
    """Of a GuardedServer."""

    server: GuardedServer

    def may_ask(self) -> bool:
        """Whether the caller has shown what the server wants."""
        guard = self.server.guard
        # A certificate that was not shown, or not trusted, has ended the handshake.
        certificate = "http" if isinstance(self.connection, ssl.SSLSocket) and self.connection.getpeercert() else ""
        return guard is None or guard.identity_of(self.headers.get("Authorization", ""), certificate) is not None

    def refuse(self) -> None:
        """Answers one who has not."""
        self.send_response(HTTPStatus.UNAUTHORIZED)
        self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Length", "0")
        self.end_headers()


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
