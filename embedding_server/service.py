"""The gRPC face of a shard."""

from __future__ import annotations

from persia import _core
from persia.rpc.wire import LOOKUP, SHARD_STATUS
from persia.serving.figures import durations, lookup_figures
from persia.serving.server import Server
from persia.v1 import embedding_pb2 as pb

from .shard import LOOKUP_SECONDS, ShardServer
from .updates.delays import DELAY_SECONDS

__all__ = ["SERVICE", "EmbeddingService"]

SERVICE: str = pb.DESCRIPTOR.services_by_name["EmbeddingServer"].full_name


class EmbeddingService:
    """Lookups are answered in the native core: they hold no lock, each pins the newest version. The status is said here."""

    def __init__(self, shard: ShardServer, spans: _core.tracing.SpanRing | None = None) -> None:
        """spans: where those of lookups go whose callers are sampled; None: nobody wants them."""
        self._shard, self._spans = shard, spans
        self.stopping = False

    def add_to(self, server: Server) -> None:
        """Before the server starts."""
        server.add(LOOKUP, _core.net.lookup_method(self._shard.lookups, self._spans))
        server.add_unary(SHARD_STATUS, pb.StatusRequest, self.status)

    def status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        """Also before the shard is ready."""
        response = self._shard.status()
        response.readable.extend(self._shard.readable_epochs(request.rows_for))
        if request.figures:
            self._add_figures(response)
        if self.stopping:  # calls that run are answered, and no new ones are asked for
            response.ready, response.state = False, "stopping"
        return response

    def _add_figures(self, response: pb.StatusResponse) -> None:
        response.lookups.CopyFrom(lookup_figures(LOOKUP_SECONDS, self._shard.lookups.call_totals()))
        updater = self._shard.updater
        if updater is not None:
            delays = updater.delays
            response.update_delays.CopyFrom(durations(DELAY_SECONDS, delays.counts, delays.seconds))
