"""The gRPC face of a router."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from typing_extensions import Buffer

from persia import _core
from persia.config import EmbeddingConfig
from persia.errors import InvalidInput
from persia.routing.directions import config_bytes, give_directions
from persia.routing.lookup import Lookup
from persia.routing.router import Router
from persia.rpc import status_of
from persia.rpc.feature_totals import feature_messages
from persia.rpc.frames import Frame, frame, message_of
from persia.v1 import embedding_pb2, middleware_pb2_grpc
from persia.v1 import middleware_pb2 as pb

from .metrics import Metrics

__all__ = ["SERVICE", "MiddlewareService", "readiness"]

SERVICE: str = pb.DESCRIPTOR.services_by_name["Middleware"].full_name


class MiddlewareService(middleware_pb2_grpc.MiddlewareServicer):
    """Holds no state of its own: every call is a lookup of the router's."""

    def __init__(self, router: Router, metrics: Metrics, config: EmbeddingConfig) -> None:
        """config: the router's."""
        self._router, self._metrics = router, metrics
        self._config, self._config_id = config_bytes(config), config.fingerprint_id
        self.frame_port = 0
        self.stopping = False

    def Forward(self, request: pb.ForwardRequest, context: grpc.ServicerContext) -> pb.ForwardResponse:
        remaining = context.time_remaining()
        asked = request.timeout_ms / 1000 if request.timeout_ms else None
        seconds = min((limit for limit in (remaining, asked) if limit is not None), default=None)
        lookup = self._lookup(request.batch, request.ids, seconds)
        response = _response(lookup)
        response.tensors = lookup.numbers.tobytes()
        response.shapes = lookup.shapes.tobytes()
        return response

    def answer_frame(self, columns: Sequence[memoryview]) -> Frame:
        """The answer to a batch that came in a frame."""
        batch, ids, message = columns
        try:
            request = message_of(pb.ForwardRequest, message)
            lookup = self._lookup(batch, ids, request.timeout_ms / 1000 if request.timeout_ms else None)
            return frame(_response(lookup), lookup.numbers.data, lookup.shapes.data)
        except Exception as error:
            code, text = status_of(error)
            return frame(pb.ForwardResponse(error=embedding_pb2.Error(code=code.value[0], message=text)), b"", b"")

    def _lookup(self, batch: Buffer, ids: Buffer, seconds: float | None) -> Lookup:
        with self._metrics.lookup() as record:
            has_batch, has_ids = bool(memoryview(batch).nbytes), bool(memoryview(ids).nbytes)
            if has_batch == has_ids:
                raise InvalidInput(f"expected either a batch or its ids, got {'both' if has_batch else 'neither'}")
            decoded = _core.decode_batch(batch) if has_batch else _core.decode_ids(ids)
            if not decoded.has_ids:
                raise InvalidInput("expected a batch with id features, got one without")
            lookup = self._router.lookup(decoded, seconds)
            record(lookup)
            return lookup

    def Status(self, request: pb.MiddlewareStatusRequest, context: grpc.ServicerContext) -> pb.MiddlewareStatusResponse:
        ready, state = (False, "stopping") if self.stopping else readiness(self._router)
        response = pb.MiddlewareStatusResponse(
            ready=ready,
            state=state,
            frame_port=self.frame_port,
            embedding_config=self._config,
            embedding_config_id=self._config_id,
            features=feature_messages(self._router.feature_counts.totals()),
        )
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
                    checkpoint_id=health.checkpoint,
                    checkpoint_seconds=health.checkpoint_seconds,
                )
        return response

    def Directions(self, request: pb.DirectionsRequest, context: grpc.ServicerContext) -> pb.DirectionsResponse:
        return give_directions(self._router, self._config)


def readiness(router: Router) -> tuple[bool, str]:
    """Whether lookups are answered, and in words which shards that goes without."""
    if problem := router.checkpoint_choice.problem:
        return False, problem
    if waiting := router.why_not_ready():
        return False, f"waiting for {waiting}"
    missing = router.missing()
    return True, f"serving without {missing}" if missing else "serving"


def _response(lookup: Lookup) -> pb.ForwardResponse:
    return pb.ForwardResponse(
        versions=lookup.versions,
        absent=lookup.absent,
        wrong_dim=lookup.wrong_dim,
        missing_shards=lookup.missing_shards,
        features=lookup.counts.tobytes(),
        embedding_config_id=lookup.embedding_config_id,
        checkpoint_id=lookup.checkpoint_id,
    )
