"""The section `security` for channels of grpcio: for tools, and for clients that are asynchronous."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from persia import _core
from persia.config.security import SYSTEM_CA, SecurityConfig
from persia.security.ends import made_of_files, tokens_to_show

__all__ = ["GrpcioSecurity", "channel_credentials"]

_UNIX = "unix:"  # sockets that speak plain text in any case
_Options = Sequence[tuple[str, Any]]


class GrpcioSecurity:
    """Makes channels. Each call over one of them is to be given metadata(). Certificates are read now: a channel keeps them."""

    def __init__(self, security: SecurityConfig) -> None:
        """Raises ConfigError: a file is of no use, or others can read what is secret."""
        self._credentials = channel_credentials(security)
        name = security.server_name
        self._options = [] if name is None else [("grpc.ssl_target_name_override", name)]
        self._tokens = tokens_to_show(security.token) if security.token is not None else None

    def channel(self, address: str, options: _Options = ()) -> grpc.Channel:
        if self._credentials is None or address.startswith(_UNIX):
            return grpc.insecure_channel(address, options)
        return grpc.secure_channel(address, self._credentials, [*options, *self._options])

    def aio_channel(self, address: str, options: _Options = ()) -> grpc.aio.Channel:
        if self._credentials is None or address.startswith(_UNIX):
            return grpc.aio.insecure_channel(address, options)
        return grpc.aio.secure_channel(address, self._credentials, [*options, *self._options])

    @property
    def encrypts(self) -> bool:
        """Whether TLS is spoken, except with unix sockets."""
        return self._credentials is not None

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The token, which is read again when its file changes; empty: none is shown."""
        if self._tokens is None:
            return ()
        self._tokens.refresh()
        return (("authorization", f"Bearer {self._tokens.token()}"),)


def channel_credentials(security: SecurityConfig) -> grpc.ChannelCredentials | None:
    """TLS as our clients speak it; None: plain text. Raises ConfigError, as GrpcioSecurity."""
    if security.ca is None:
        return None
    root, certificate, key = made_of_files(lambda: _pems(security))
    return grpc.ssl_channel_credentials(root, key, certificate)


def _pems(security: SecurityConfig) -> tuple[bytes | None, bytes | None, bytes | None]:
    """CAs, certificate and key."""
    root = _system_roots() if security.ca == SYSTEM_CA else Path(str(security.ca)).read_bytes()
    if security.client_certificate is None or security.client_key is None:
        return root, None, None
    return root, Path(security.client_certificate).read_bytes(), _core.security.read_secret(security.client_key)


def _system_roots() -> bytes | None:
    """None: those that grpcio has with it."""
    path = ssl.get_default_verify_paths().cafile
    return Path(path).read_bytes() if path else None
