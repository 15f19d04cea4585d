"""Where a server may listen, and a client call, by the section `security`."""

from __future__ import annotations

import ipaddress
import socket
import warnings

from persia.config.security import SecurityConfig
from persia.errors import ConfigError
from persia.system.address import host_and_port

__all__ = ["SecurityWarning", "check_call", "check_listen", "is_local"]

_UNIX = "unix:"


class SecurityWarning(UserWarning):
    """What may be meant so, but lets more people in than one would think."""


def check_listen(address: str, security: SecurityConfig) -> None:
    """Refuses a listener that is open to all who reach this machine, unless that is written out.

    address: `host:port`, with an empty host for all of them, or `unix:/path`.

    Raises:
        ConfigError: Others can reach it, and it neither speaks TLS nor asks for tokens.
    """
    if security.insecure or is_local(address):
        return
    encrypts, asks = security.certificate is not None, security.tokens is not None
    if not encrypts and not asks:
        raise ConfigError(
            f"other machines can reach the listener on {address}, which has neither TLS nor tokens: "
            "write `certificate` and `key` (`persia-launcher certificates` makes some for a trial), or `tokens`, "
            "or `insecure: true` if everybody who reaches it may ask it anything",
            "$.security",
        )
    if not encrypts:
        _warn(
            f"the listener on {address} takes tokens in plain text: everybody who sees the traffic can use them. Write "
            "`certificate` and `key`, unless something else encrypts it (a service mesh, a tunnel)"
        )
    elif not asks and security.client_ca is None:
        _warn(
            f"the listener on {address} is encrypted, but asks nobody who he is: write `client_ca` or `tokens`, unless "
            "everybody who reaches it may ask it anything"
        )


def check_call(address: str, security: SecurityConfig) -> None:
    """Warns of a token that travels in plain text. address: as for check_listen."""
    if security.token is not None and security.ca is None and not security.insecure and not is_local(address):
        _warn(
            f"the token for {address} travels in plain text: who sees the traffic can use it. Write `ca`, unless something "
            "else encrypts it (a service mesh, a tunnel)"
        )


def is_local(address: str) -> bool:
    """Whether nobody but this machine reaches it: all that its host stands for is of the loopback interface."""
    if address.startswith(_UNIX):
        return True
    host = host_and_port(address)[0]
    if not host:
        return False
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False  # nobody can listen there either
    return all(_is_loopback(text.partition("%")[0]) for text in found)


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _warn(problem: str) -> None:
    warnings.warn(f"{problem} (section `security`)", SecurityWarning, stacklevel=3)
