"""Addresses `host:port`: taken apart, put together, listened on, and found free."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Sequence

from persia.errors import InvalidInput, Unavailable

__all__ = [
    "MOST_PORT",
    "check_free",
    "free_ports",
    "host_and_port",
    "is_free",
    "is_loopback",
    "join_address",
    "number_of_port",
    "open_listener",
]

MOST_PORT = 65_535


def host_and_port(address: str) -> tuple[str, str]:
    """Both parts of `host:port`, the host without the brackets of IPv6. Neither is checked: either may be empty."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def join_address(host: str, port: int | str) -> str:
    """`host:port`, with IPv6 in brackets, which the host may have already."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether the host, without brackets, is this machine by its own name for itself. No other name is looked up."""
    return host in ("localhost", "::1") or host.startswith("127.")


def open_listener(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 for any free one. Raises OSError."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def is_free(address: str) -> bool:
    """Whether an address of this machine can be listened on."""
    host, port = host_and_port(address)
    try:
        open_listener(host, number_of_port(port)).close()
    except (OSError, InvalidInput):
        return False
    return True


def number_of_port(port: str) -> int:
    """Raises InvalidInput."""
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= MOST_PORT):
        raise InvalidInput(f"expected a port from 0 to {MOST_PORT}, got {port!r:.100}")
    return int(port)


def check_free(addresses: Sequence[str]) -> None:
    """Raises Unavailable unless all of them can be listened on at the same time, InvalidInput."""
    with contextlib.ExitStack() as held:
        for address in addresses:
            host, port = host_and_port(address)
            try:
                held.enter_context(open_listener(host, number_of_port(port)))
            except OSError as error:
                raise Unavailable(f"expected a free address to listen on, got {address}: {error.strerror}") from None


def free_ports(count: int, among: range = range(20_000, 25_000)) -> list[int]:
    """Ports of the loopback address that nobody listens on, below those that the system gives to clients.

    They are chosen at random: of two processes that look at the same time and listen later, both would find the first ones.
    """
    found: list[int] = []
    for port in random.sample(among, len(among)):
        with contextlib.suppress(OSError), open_listener("127.0.0.1", port):
            found.append(port)
        if len(found) == count:
            return found
    raise Unavailable(f"expected {count} free ports from {among.start} to {among.stop - 1}, got {len(found)}")
