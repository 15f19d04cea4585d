"""The gRPC face of a shard."""

from __future__ import annotations

from persia import _core
from persia.rpc.wire import LOOKUP, SHARD_STATUS
from persia.serving.server import Server
from persia.v1 import embedding_pb2 as pb

from .shard import ShardServer

__all__ = ["SERVICE", "EmbeddingService"]

SERVICE: str = pb.DESCRIPTOR.services_by_name["EmbeddingServer"].full_name


class EmbeddingService:
    """Lookups are answered in the native core: they hold no lock, each pins the newest version. The status is said here."""

    def __init__(self, shard: ShardServer) -> None:
        self._shard = shard
        self.stopping = False

    def add_to(self, server: Server) -> None:
        """Before the server starts."""
        server.add(LOOKUP, _core.net.lookup_method(self._shard.lookups))
        server.add_unary(SHARD_STATUS, pb.StatusRequest, self.status)

    def status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        """Also before the shard is ready."""
        response = self._shard.status()
        response.readable.extend(self._shard.readable_epochs(request.rows_for))
        if self.stopping:  # calls that run are answered, and no new ones are asked for
            response.ready, response.state = False, "stopping"
        return response
