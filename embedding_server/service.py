"""The gRPC face of a shard."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from persia import _core
from persia.errors import PersiaError, Unavailable
from persia.rpc import MAX_MESSAGE_BYTES, status_of
from persia.v1 import embedding_pb2 as pb
from persia.v1 import embedding_pb2_grpc as pb_grpc

from .metrics import Metrics
from .shard import ShardServer

__all__ = ["SERVICE", "EmbeddingService"]

SERVICE: str = pb.DESCRIPTOR.services_by_name["EmbeddingServer"].full_name

# An answer that gRPC would refuse to send is refused before it is made.
MAX_NUMBERS = MAX_MESSAGE_BYTES // 4 - 1024


class EmbeddingService(pb_grpc.EmbeddingServerServicer):
    """Lookups hold no lock: each pins the newest version, and works without the interpreter's lock."""

    def __init__(self, shard: ShardServer, metrics: Metrics) -> None:
        self._shard, self._metrics = shard, metrics

    def Lookup(self, request: pb.LookupRequest, context: grpc.ServicerContext) -> pb.LookupResponse:
        with self._metrics.lookup():
            return self._lookup(request)

    def _lookup(self, request: pb.LookupRequest) -> pb.LookupResponse:
        table = self._shard.table
        if table is None or not self._shard.ready:
            raise Unavailable(f"expected a shard that is ready, got one that is {self._shard.state}")
        snapshot = table.pin()
        numbers, absent, wrong_dim = _core.answer(
            snapshot, request.parts, request.signs, request.sum_counts, request.sum_samples, MAX_NUMBERS
        )
        self._shard.count(len(request.signs) // 8, absent, wrong_dim)
        return pb.LookupResponse(
            id=request.id, numbers=numbers.tobytes(), version=snapshot.version, absent=absent, wrong_dim=wrong_dim
        )

    def LookupStream(self, requests: Iterator[pb.LookupRequest], context: grpc.ServicerContext) -> Iterator[pb.LookupResponse]:
        return map(self._reply, requests)  # unlike a loop, it does not hold a request until the next one comes

    def _reply(self, request: pb.LookupRequest) -> pb.LookupResponse:
        try:
            with self._metrics.lookup():
                return self._lookup(request)
        except PersiaError as error:
            code, message = status_of(error)
            return pb.LookupResponse(id=request.id, error=pb.Error(code=code.value[0], message=message))

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:
        return self._shard.status()
