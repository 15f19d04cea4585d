"""`servers`: host:port of every shard, in shard order."""

from __future__ import annotations

import ipaddress
import re

from persia.config.nodes import List, Node, Scalar, describe

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")  # an underscore is no host name's, but docker compose has them
_FORM = "expected `host:port`"


def read_servers(node: Node) -> tuple[tuple[str, ...], ...]:
    """Shards, each with its replicas. A server that stands twice is an error: it can hold one shard only."""
    if not isinstance(node, List):
        raise node.error(f"expected a list of `host:port`, got {describe(node)}")
    first: dict[str, str] = {}
    shards = []
    for entry in node.items:
        if isinstance(entry, List) and not entry.items:
            raise entry.error("expected at least one replica, got an empty list")
        replicas = []
        for item in entry.items if isinstance(entry, List) else [entry]:
            if not isinstance(item, Scalar) or item.is_null:
                raise item.error(f"{_FORM}, got {describe(item)}")
            if problem := address_problem(item.text):
                raise item.error(problem)
            if item.text in first:
                raise item.error(f"`{item.text}` stands twice, first at `{first[item.text]}`")
            first[item.text] = item.path
            replicas.append(item.text)
        shards.append(tuple(replicas))
    return tuple(shards)


def address_problem(text: str) -> str | None:
    """Why `text` is neither `host:port` nor `unix:/path`, or None.

    A host is a DNS name, an IPv4 address or an IPv6 address in brackets.
    """
    if text.startswith("unix:/"):
        return None
    host, colon, port = text.rpartition(":")
    if "://" in text:
        return f"{_FORM} without a scheme, got `{text}`"
    if not colon or not host or text.endswith("]"):
        return f"{_FORM}, got `{text}`"
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        return f"{_FORM} with a port from 1 to 65535, got `{text}`"
    if host.startswith("[") and host.endswith("]"):
        return None if _is_address(host[1:-1], 6) else f"{_FORM} with an IPv6 address in the brackets, got `{text}`"
    if ":" in host:
        return f"{_FORM} with an IPv6 address in brackets, as in `[::1]:8888`, got `{text}`"
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdigit():
        return None if _is_address(host, 4) else f"{_FORM} with an IPv4 address, got `{text}`"
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return f"{_FORM} with a DNS name, got `{text}`"
    return None


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False
