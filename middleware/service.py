"""The gRPC face of a router."""

from __future__ import annotations

from persia import _core
from persia.config import EmbeddingConfig
from persia.routing.router import Router
from persia.routing.topology import config_bytes, topology_of
from persia.rpc.wire import DIRECTIONS, FORWARD, MIDDLEWARE_STATUS
from persia.serving.feature_totals import feature_messages
from persia.serving.figures import lookup_figures
from persia.serving.server import Server
from persia.v1 import middleware_pb2 as pb

__all__ = ["SECONDS", "SERVICE", "MiddlewareService", "readiness"]

# What lookups are told apart by, in metrics and figures.
SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SERVICE: str = pb.DESCRIPTOR.services_by_name["Middleware"].full_name


class MiddlewareService:
    """Holds no state of its own. Lookups are answered in the native core; the rest is said here."""

    def __init__(
        self,
        router: Router,
        counts: _core.net.ForwardCounts,
        config: EmbeddingConfig,
        spans: _core.tracing.SpanRing | None = None,
    ) -> None:
        """config: the router's. spans: where those of sampled callers go; None: nobody wants them."""
        self._router, self._counts, self._spans = router, counts, spans
        self._config, self._config_id = config_bytes(config), config.fingerprint_id
        self.stopping = False

    def add_to(self, server: Server) -> None:
        """Before the server starts."""
        router = self._router
        forward = _core.net.forward_method(router.native, self._config_id, router.options.timeout, self._counts, self._spans)
        server.add(FORWARD, forward)
        server.add_unary(MIDDLEWARE_STATUS, pb.MiddlewareStatusRequest, self.status)
        server.add_unary(DIRECTIONS, pb.DirectionsRequest, lambda _request: topology_of(router, self._config))

    def status(self, request: pb.MiddlewareStatusRequest) -> pb.MiddlewareStatusResponse:
        """Also while shards are missing."""
        if request.rows_for.model:
            self._router.native.watch((request.rows_for.model, request.rows_for.version, 0))
        ready, state = (False, "stopping") if self.stopping else readiness(self._router)
        response = pb.MiddlewareStatusResponse(
            ready=ready,
            state=state,
            embedding_config=self._config,
            embedding_config_id=self._config_id,
            deployment=self._router.options.deployment,
            features=feature_messages(self._router.native.feature_counts.totals()),
        )
        if request.figures:
            response.forwards.CopyFrom(lookup_figures(SECONDS, self._counts.call_totals()))
        for index, shard in enumerate(self._router.shards):
            status = response.shards.add(shard_index=index)
            for replica in shard.replicas:
                health = replica.health
                status.replicas.add(
                    address=replica.address,
                    ready=replica.usable,
                    state=replica.why_unusable(),
                    version=health.version,
                    rows=health.rows,
                    checkpoint_id=health.checkpoint_id,
                    checkpoint_seconds=health.checkpoint_seconds,
                    epoch_low=health.epoch_low,
                    epoch_high=health.epoch_high,
                )
        return response


def readiness(router: Router) -> tuple[bool, str]:
    """Whether lookups are answered, and in words which shards that goes without."""
    if problem := router.checkpoint_choice.problem:
        return False, problem
    if waiting := router.why_not_ready():
        return False, f"waiting for {waiting}"
    missing = router.missing()
    return True, f"serving without {missing}" if missing else "serving"
