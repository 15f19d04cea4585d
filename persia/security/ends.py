"""What a server asks of its clients, and what a client shows: made once, from files that are read then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from persia import _core
from persia.config.security import SYSTEM_CA, SecurityConfig
from persia.errors import ConfigError, InvalidInput

__all__ = ["ClientSecurity", "ServerSecurity"]

_T = TypeVar("_T")


class ServerSecurity:
    """`tls`: None: plain text. `guard`: None: everybody may call."""

    def __init__(self, config: SecurityConfig) -> None:
        """Raises ConfigError: a file is of no use, or others can read what is secret."""
        certificate, key, client_ca, tokens = config.certificate, config.key, config.client_ca or "", config.tokens or ""
        self.tls: _core.security.TlsContext | None = None
        self.guard: _core.security.Guard | None = None
        if certificate and key:
            self.tls = _made(lambda: _core.security.TlsContext.for_server(certificate, key, client_ca))
        if tokens or client_ca:
            self.guard = _made(lambda: _core.security.Guard.of(tokens, bool(client_ca)))

    def refresh(self) -> list[str]:
        """Reads again what has changed. Returns what is wrong; what was there before stays in use then."""
        return [problem for part in (self.tls, self.guard) if part is not None and (problem := part.refresh())]


class ClientSecurity:
    """`tls`: None: plain text. `tokens`: None: none is shown. `server_name`: empty: the host that is called."""

    def __init__(self, config: SecurityConfig) -> None:
        """Raises ConfigError, as ServerSecurity."""
        ca, certificate, key, token = config.ca, config.client_certificate or "", config.client_key or "", config.token
        self.tls: _core.security.TlsContext | None = None
        self.tokens: _core.security.Tokens | None = None
        self.server_name = config.server_name or ""
        if ca:
            trusted = "" if ca == SYSTEM_CA else ca
            self.tls = _made(lambda: _core.security.TlsContext.for_client(trusted, certificate, key))
        if token:
            self.tokens = _made(lambda: _core.security.Tokens(token))
            if not self.tokens.token():
                raise ConfigError(f"expected a token to show, got a file without one: {token}", "$.security.token")

    def refresh(self) -> list[str]:
        """As of ServerSecurity."""
        return [problem for part in (self.tls, self.tokens) if part is not None and (problem := part.refresh())]


def _made(make: Callable[[], _T]) -> _T:
    try:
        return make()
    except InvalidInput as error:
        raise ConfigError(str(error), "$.security") from None
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}", "$.security") from None
