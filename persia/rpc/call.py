"""One call to one server, for those who have no reason to keep a connection."""

from __future__ import annotations

import ipaddress
import socket

from google.protobuf.message import Message

from persia.errors import Unavailable
from persia.rpc.service import native_replica
from persia.security import ClientSecurity
from persia.system.address import host_and_port, join_address

__all__ = ["call"]


def call(address: str, path: str, request: Message, seconds: float, security: ClientSecurity | None = None) -> bytes:
    """The answer's bytes.

    Args:
        address: `host:port`, `unix:/path`.
        path: `/package.Service/Method`.
        request: Its message.
        seconds: How long it may take.
        security: How the server is spoken to; None: in plain text, and without a token.

    Raises:
        Unavailable: The server cannot be reached.
        NotFound: It has no such method.
        DeadlineExceeded: Not in time.
        PersiaError: What the server says.
    """
    replica = native_replica(_with_address(address), _host_of(address), security)
    try:
        return replica.call(path, request.SerializeToString(), seconds)
    finally:
        replica.close()


def _host_of(address: str) -> str:
    return "localhost" if address.startswith("unix:") else host_and_port(address)[0]


def _with_address(address: str) -> str:
    """The first one that a name stands for."""
    if address.startswith("unix:"):
        return address
    host, port = host_and_port(address)
    try:
        ipaddress.ip_address(host)
        return address
    except ValueError:
        pass
    try:
        found = str(socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{address}: {error}") from None
    return join_address(found, port)
