"""What stands behind an address: an embedding server, or a middleware."""

from __future__ import annotations

import time
from collections.abc import Sequence

from persia.errors import DeadlineExceeded, NotFound, PersiaError, Unavailable
from persia.rpc.call import call
from persia.rpc.methods import SHARD_STATUS
from persia.security import ClientSecurity
from persia.v1 import embedding_pb2 as pb

__all__ = ["are_shards"]

_CALL_SECONDS = 1.0


def are_shards(addresses: Sequence[str], end: float, security: ClientSecurity | None = None) -> bool:
    """Whether the addresses are those of embedding servers; asks until one of them answers.

    Raises:
        Unavailable: None of them has answered at `end` (of time.monotonic()).
    """
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
        time.sleep(0.05)
