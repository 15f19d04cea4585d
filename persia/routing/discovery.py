"""What stands behind an address: an embedding server, or a middleware."""

from __future__ import annotations

import time
from collections.abc import Sequence

import grpc

from persia.errors import Unavailable
from persia.rpc.replica import CHANNEL_OPTIONS
from persia.v1 import embedding_pb2 as pb
from persia.v1 import embedding_pb2_grpc as pb_grpc

__all__ = ["are_shards"]

_CALL_SECONDS = 1.0


def are_shards(addresses: Sequence[str], end: float) -> bool:
    """Whether the addresses are those of embedding servers; asks until one of them answers.

    Raises:
        Unavailable: None of them has answered at `end` (of time.monotonic()).
    """
    problems: dict[str, str] = {}
    while True:
        for address in addresses:
            with grpc.insecure_channel(address, CHANNEL_OPTIONS) as channel:
                try:
                    seconds = max(0.001, min(_CALL_SECONDS, end - time.monotonic()))
                    pb_grpc.EmbeddingServerStub(channel).Status(pb.StatusRequest(), timeout=seconds)
                    return True
                except grpc.RpcError as error:
                    code, details = error.code(), error.details()
                    if code == grpc.StatusCode.UNIMPLEMENTED:
                        return False
                    problems[address] = str(details) or code.name
        if time.monotonic() >= end:
            reasons = "; ".join(f"{address}: {problem}" for address, problem in problems.items())
            raise Unavailable(f"expected an embedding server or a middleware, got no answer: {reasons}")
        time.sleep(0.05)
