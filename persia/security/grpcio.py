"""The section `security` for channels of grpcio: for tools, and for clients that are asynchronous."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio

from persia import _core
from persia.config.security import SYSTEM_CA, SecurityConfig
from persia.errors import ConfigError, InvalidInput

__all__ = ["aio_channel", "channel", "channel_credentials", "token_metadata"]

_Options = Sequence[tuple[str, Any]]


def channel_credentials(security: SecurityConfig) -> grpc.ChannelCredentials | None:
    """TLS as a client of ours speaks it, and the token with each call; None: plain text, whose token is token_metadata().

    Certificates are read now, and a channel keeps them; the token is read again when its file changes.

    Raises:
        ConfigError: A file cannot be read, or others can read what is secret.
    """
    if security.ca is None:
        return None
    try:
        root = _system_roots() if security.ca == SYSTEM_CA else Path(security.ca).read_bytes()
        key = _core.security.read_secret(security.client_key) if security.client_key else None
        certificate = Path(security.client_certificate).read_bytes() if security.client_certificate else None
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}", "$.security") from None
    except InvalidInput as error:
        raise ConfigError(str(error), "$.security") from None
    credentials = grpc.ssl_channel_credentials(root, key, certificate)
    if security.token is None:
        return credentials
    token = grpc.metadata_call_credentials(_TokenPlugin(_tokens(security.token)))
    return grpc.composite_channel_credentials(credentials, token)


def token_metadata(security: SecurityConfig) -> tuple[tuple[str, str], ...]:
    """The token as metadata of one call; empty: there is none. Raises ConfigError."""
    return _authorization(_tokens(security.token)) if security.token is not None else ()


def channel(address: str, security: SecurityConfig, options: _Options = ()) -> grpc.Channel:
    """A channel whose calls show what the section says. Raises ConfigError."""
    credentials = channel_credentials(security)
    if credentials is not None:
        return grpc.secure_channel(address, credentials, _with_name(options, security))
    plain = grpc.insecure_channel(address, options)
    return plain if security.token is None else grpc.intercept_channel(plain, _TokenInterceptor(_tokens(security.token)))


def aio_channel(address: str, security: SecurityConfig, options: _Options = ()) -> grpc.aio.Channel:
    """As channel(), for asyncio."""
    credentials = channel_credentials(security)
    if credentials is not None:
        return grpc.aio.secure_channel(address, credentials, _with_name(options, security))
    if security.token is None:
        return grpc.aio.insecure_channel(address, options)
    tokens = _tokens(security.token)
    interceptors = [kind(tokens) for kind in _AIO_INTERCEPTORS]
    return grpc.aio.insecure_channel(address, options, interceptors=interceptors)


def _with_name(options: _Options, security: SecurityConfig) -> list[tuple[str, Any]]:
    name = security.server_name
    return [*options, ("grpc.ssl_target_name_override", name)] if name is not None else list(options)


def _system_roots() -> bytes | None:
    """None: those that grpcio has with it."""
    path = ssl.get_default_verify_paths().cafile
    return Path(path).read_bytes() if path is not None else None


def _tokens(path: str) -> _core.security.Tokens:
    try:
        tokens = _core.security.Tokens(path)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}", "$.security.token") from None
    except InvalidInput as error:
        raise ConfigError(str(error), "$.security.token") from None
    if not tokens.token():
        raise ConfigError(f"expected a token to show, got a file without one: {path}", "$.security.token")
    return tokens


def _authorization(tokens: _core.security.Tokens) -> tuple[tuple[str, str], ...]:
    tokens.refresh()
    return (("authorization", f"Bearer {tokens.token()}"),)


class _TokenPlugin(grpc.AuthMetadataPlugin):
    def __init__(self, tokens: _core.security.Tokens) -> None:
        self._tokens = tokens

    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        callback(_authorization(self._tokens), None)


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _TokenInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Without TLS, grpcio sends no credentials of calls: so the token goes as metadata like any other."""

    def __init__(self, tokens: _core.security.Tokens) -> None:
        self._tokens = tokens

    def _call(self, go_on: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), *_authorization(self._tokens)]
        shown = _Details(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready, details.compression
        )
        return go_on(shown, request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = _call


class _AioToken:
    def __init__(self, tokens: _core.security.Tokens) -> None:
        self._tokens = tokens

    async def _call(self, go_on: Callable[[Any, Any], Any], details: grpc.aio.ClientCallDetails, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *_authorization(self._tokens))
        shown = grpc.aio.ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )
        return await go_on(shown, request)


class _AioUnaryUnary(_AioToken, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = _AioToken._call


class _AioUnaryStream(_AioToken, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = _AioToken._call


class _AioStreamUnary(_AioToken, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = _AioToken._call


class _AioStreamStream(_AioToken, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = _AioToken._call


# grpc.aio takes one interceptor for one kind of calls.
_AIO_INTERCEPTORS = (_AioUnaryUnary, _AioUnaryStream, _AioStreamUnary, _AioStreamStream)
