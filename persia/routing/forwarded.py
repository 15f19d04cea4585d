"""Lookups that a middleware does: the ids go there, and the tensors come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from persia import _core
from persia.config.slots_match import SlotLike
from persia.core_spans import caller_here, core_spans
from persia.errors import ConfigError, InvalidInput, PersiaError, Unavailable
from persia.routing.deployments import why_another
from persia.routing.expected_slots import PATH, ExpectedSlots
from persia.routing.lookup import Lookup, OnBuffers, RouterOptions, naming
from persia.routing.per_process import PerProcess
from persia.rpc.prober import Health, Probe
from persia.rpc.service import Service
from persia.rpc.wire import MIDDLEWARE_STATUS
from persia.v1 import embedding_pb2
from persia.v1 import middleware_pb2 as pb

__all__ = ["MiddlewareClient", "OnProbe"]

# A middleware, and how long a call may take.
OnProbe = Callable[[_core.net.Replica, float], None]


class MiddlewareClient:
    """Hands batches to a middleware. Any number of threads may use it, of the process that used it first."""

    def __init__(
        self,
        addresses: Sequence[str],
        options: RouterOptions,
        on_probe: OnProbe | None = None,
        expects: Sequence[SlotLike] | None = None,
    ) -> None:
        """addresses: `host:port` of one or more middlewares that do the same.

        on_probe: called whenever one of them has said that it is ready, in the thread that asks it, unless it is refused.
        expects: slots that its embedding config must have; None: any will do.
        """
        self.options = options
        self._expected_slots = ExpectedSlots(expects) if expects is not None else None
        probe, security, times = self._make_probe(on_probe), options.security, options.watch
        self._wants_spans = core_spans() is not None
        self._service = PerProcess(lambda: Service("the middleware", probe, addresses, security, times=times))

    @property
    def service(self) -> Service:
        """Made when it is first needed, in the process that needs it."""
        return self._service.get()

    def lookup(
        self,
        batch: _core.Batch,
        timeout: float | None = None,
        on_buffers: OnBuffers | None = None,
        min_epoch: int = 0,
        variant: str = "",
    ) -> Lookup:
        """Does what Lookups.lookup says. on_buffers is not called, because the shapes come with the numbers."""
        if batch.requests > 1:
            raise InvalidInput("expected one batch, got several that were merged, which a middleware does not look up")
        seconds = self.options.timeout if timeout is None else timeout
        began = time.monotonic()
        native = self.service.native
        self._raise_if_refused()
        rows_for = self.options.rows_key(variant)
        caller = caller_here() if self._wants_spans else None
        try:
            with naming(variant):
                forwarded = _core.net.forward(
                    native,
                    batch,
                    seconds=seconds,
                    hedge_after=self.options.hedge_after,
                    wait_for_service=self.options.wait_for_shard,
                    spin_for=self.options.stay_awake,
                    config_ids=None if self._expected_slots is None else self._expected_slots.met,
                    min_epoch=min_epoch,
                    rows_for=rows_for,
                    caller=caller,
                )
        except PersiaError:
            self._raise_if_refused()
            raise
        if forwarded.epoch < min_epoch:
            raise Unavailable(
                f"expected rows of epoch {min_epoch} or a later one, got rows of epoch {forwarded.epoch} from a middleware "
                "that is older than this release"
            )
        if forwarded.variant != rows_for[2]:
            raise Unavailable(
                f"expected rows of variant {variant!r}, got rows of none from a middleware that is older than this release"
            )
        return Lookup(
            numbers=forwarded.numbers,
            shapes=forwarded.shapes,
            versions=forwarded.versions,
            absent=forwarded.absent,
            wrong_dim=forwarded.wrong_dim,
            missing_shards=forwarded.missing_shards,
            rpc_seconds=time.monotonic() - began,
            batch=batch,
            counts=forwarded.counts,
            checkpoint_id=forwarded.checkpoint_id,
            embedding_config_id=forwarded.embedding_config_id,
            epoch=forwarded.epoch,
            variant=variant,
        )

    def _raise_if_refused(self) -> None:
        """Raises ConfigError if there is no middleware with the slots that are expected, and one with others."""
        replicas = self.service.replicas
        if self._expected_slots is None or any(replica.usable for replica in replicas):
            return
        for replica in replicas:
            if replica.health.refused:
                raise ConfigError(f"the middleware at {replica.address} is not asked: {replica.health.refused}", PATH)

    def why_not_ready(self) -> str:
        """What is missing before a lookup can be answered; empty: nothing."""
        service = self.service
        return "" if service.usable else f"{service.name} ({service.why_unusable()})"

    def _make_probe(self, on_probe: OnProbe | None) -> Probe:
        expected_slots, deployment = self._expected_slots, self.options.deployment
        model, version, _ = self.options.rows_key()
        request = pb.MiddlewareStatusRequest(rows_for=embedding_pb2.RowsFor(model=model, version=version)).SerializeToString()

        def probe(replica: _core.net.Replica, seconds: float) -> Health:
            status = pb.MiddlewareStatusResponse.FromString(replica.call(MIDDLEWARE_STATUS, request, seconds))
            if another := why_another(deployment, status.deployment):
                return Health(False, another)
            refused = expected_slots.compare(status.embedding_config_id, status.embedding_config) if expected_slots else ""
            if status.ready and not refused and on_probe is not None:
                on_probe(replica, seconds)
            return Health(status.ready, status.state, refused)

        return probe

    def close(self) -> None:
        """Ends its connections and threads."""
        self._service.close(Service.close)
