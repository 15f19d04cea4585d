"""What a server asks of its clients, and what a client shows: made once, from files that are read then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from persia import _core
from persia.config.security import SYSTEM_CA, SecurityConfig
from persia.errors import ConfigError, InvalidInput

__all__ = ["ClientSecurity", "SecurityFiles", "ServerSecurity", "made_of_files", "tokens_to_show"]

_T = TypeVar("_T")


class SecurityFiles(Protocol):
    """What was made of files that may change."""

    def refresh(self) -> list[str]:
        """Reads again what has changed. Returns what is wrong; what was there before stays in use then."""


class ServerSecurity:
    """`tls`: None: plain text. `guard`: None: everybody may call."""

    def __init__(self, config: SecurityConfig) -> None:
        """Raises ConfigError: a file is of no use, or others can read what is secret."""
        certificate, key, client_ca, tokens = config.certificate, config.key, config.client_ca or "", config.tokens or ""
        self.tls: _core.security.TlsContext | None = None
        self.guard: _core.security.Guard | None = None
        if certificate and key:
            self.tls = made_of_files(lambda: _core.security.TlsContext.for_server(certificate, key, client_ca))
        if tokens or client_ca:
            self.guard = made_of_files(lambda: _core.security.Guard.of(tokens, bool(client_ca)))

    def refresh(self) -> list[str]:
        return _problems([self.tls, self.guard])


class ClientSecurity:
    """`tls`: None: plain text. `tokens`: None: none is shown. `server_name`: empty: the host that is called."""

    def __init__(self, config: SecurityConfig) -> None:
        """Raises ConfigError, as ServerSecurity."""
        ca, certificate, key = config.ca, config.client_certificate or "", config.client_key or ""
        self.tls: _core.security.TlsContext | None = None
        self.server_name = config.server_name or ""
        if ca:
            trusted = "" if ca == SYSTEM_CA else ca
            self.tls = made_of_files(lambda: _core.security.TlsContext.for_client(trusted, certificate, key))
        self.tokens = tokens_to_show(config.token) if config.token else None

    def refresh(self) -> list[str]:
        return _problems([self.tls, self.tokens])


def made_of_files(make: Callable[[], _T], path: str = "$.security") -> _T:
    """What `make` returns. Raises ConfigError, at that place of the config."""
    try:
        return make()
    except InvalidInput as error:
        raise ConfigError(str(error), path) from None
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}", path) from None


def tokens_to_show(path: str) -> _core.security.Tokens:
    """The tokens of a client's file. Raises ConfigError: there is none."""
    tokens = made_of_files(lambda: _core.security.Tokens(path), "$.security.token")
    if not tokens.token():
        raise ConfigError(f"expected a token to show, got a file without one: {path}", "$.security.token")
    return tokens


def _problems(parts: Sequence[_core.security.TlsContext | _core.security.Guard | _core.security.Tokens | None]) -> list[str]:
    return [problem for part in parts if part is not None and (problem := part.refresh())]
