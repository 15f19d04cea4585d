"""Who answers lookups at some addresses: embedding servers, which are asked directly, or a middleware."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from persia.config import EmbeddingConfig
from persia.config.slots_match import SlotLike
from persia.errors import DeadlineExceeded, NotFound, PersiaError, Unavailable
from persia.routing.bypass import BypassRouter
from persia.routing.expected_slots import ExpectedSlots
from persia.routing.forwarded import MiddlewareClient
from persia.routing.lookup import Lookups, RouterOptions
from persia.routing.router import Router
from persia.rpc.call import call
from persia.rpc.wire import SHARD_STATUS
from persia.security import ClientSecurity
from persia.v1 import embedding_pb2 as pb

__all__ = ["connect", "route"]

_CALL_SECONDS = 1.0
_PAUSE_SECONDS = 0.05


def connect(
    addresses: Sequence[str],
    options: RouterOptions,
    end: float,
    *,
    embedding_config: Callable[[], EmbeddingConfig],
    expects: Sequence[SlotLike] | None = None,
) -> Lookups:
    """Whoever answers lookups there. Waits until one of the addresses has said what it is.

    Args:
        addresses: `host:port` of middlewares that do the same, or of the embedding servers in shard order.
        options: How they are spoken to.
        end: By time.monotonic().
        embedding_config: Loads the config, which is needed only where lookups go to embedding servers.
        expects: Slots that the config by which ids become signs must have; None: any will do.

    Raises:
        Unavailable: None of them has answered in time.
        ConfigError: The embedding config cannot be loaded, or has other slots than expected.
    """
    if _are_embedding_servers(addresses, end, options.security):
        return route([[address] for address in addresses], options, embedding_config=embedding_config, expects=expects)
    way = BypassRouter if options.clients_ask_shards else MiddlewareClient
    return way(addresses, options, expects=expects)


def route(
    servers: Sequence[Sequence[str]],
    options: RouterOptions,
    *,
    embedding_config: Callable[[], EmbeddingConfig],
    expects: Sequence[SlotLike] | None = None,
) -> Lookups:
    """As connect, where it is known that these are embedding servers. Nothing is connected yet.

    servers: for each shard, in order, the `host:port` of its replicas.
    """
    config = embedding_config()
    if expects is not None:
        ExpectedSlots(expects).check(config)
    return Router(config, servers, options)


def _are_embedding_servers(addresses: Sequence[str], end: float, security: ClientSecurity | None) -> bool:
    """Asks until one of them answers."""
    problems: dict[str, str] = {}
    while True:
        for address in addresses:
            try:
                seconds = max(0.001, min(_CALL_SECONDS, end - time.monotonic()))
                call(address, SHARD_STATUS, pb.StatusRequest(), seconds, security)
                return True
            except NotFound:
                return False
            except DeadlineExceeded as error:
                problems.setdefault(address, str(error))  # what a server has said before tells more
            except PersiaError as error:
                problems[address] = str(error)
        if time.monotonic() >= end:
            reasons = "; ".join(f"{address}: {problem}" for address, problem in problems.items())
            raise Unavailable(f"expected an embedding server or a middleware, got no answer: {reasons}")
        time.sleep(_PAUSE_SECONDS)
