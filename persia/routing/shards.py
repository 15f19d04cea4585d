"""The embedding servers that a router asks: a service for each shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from persia import _core
from persia.routing.deployments import why_another
from persia.routing.lookup import RouterOptions, RowsKey
from persia.rpc.prober import Health, Probe
from persia.rpc.service import Service
from persia.rpc.wire import SHARD_STATUS
from persia.v1 import embedding_pb2 as pb

__all__ = ["IsKnownStart", "ReadableWatch", "shard_services"]

# Whether a server with this start number is one of ours.
IsKnownStart = Callable[[int], bool]


class ReadableWatch(Protocol):
    """For which versions of dense models, and for which variants, servers are watched. Any thread may use it."""

    def watched(self) -> list[RowsKey]:
        """Their keys."""

    def note_readable(self, rows_for: RowsKey, first: int, last: int) -> None:
        """The epochs that may be read for one of them, as a server has said; zeros: it has none."""

    def note_variants(self, names: Iterable[str]) -> None:
        """The variants that a server has."""


def shard_services(
    servers: Sequence[Sequence[str]],
    options: RouterOptions,
    is_known_start: IsKnownStart | None = None,
    on_change: Callable[[], None] = lambda: None,
    readable: ReadableWatch | None = None,
) -> list[Service]:
    """For each shard its servers.

    Args:
        servers: For each shard, in order, the `host:port` of its replicas.
        options: How they are spoken to and watched.
        is_known_start: None: whoever says that it is this shard is one of ours.
        on_change: As for a Service.
        readable: None: they are watched for nobody.
    """
    count = len(servers)

    def service(index: int, addresses: Sequence[str]) -> Service:
        probe = _probe(index, count, options.deployment, is_known_start, readable)
        return Service(f"shard {index} of {count}", probe, addresses, options.security, on_change, options.watch)

    return [service(i, one) for i, one in enumerate(servers)]


def _probe(
    index: int, count: int, deployment: str, is_known_start: IsKnownStart | None, readable: ReadableWatch | None
) -> Probe:
    def probe(replica: _core.net.Replica, seconds: float) -> Health:
        watched = readable.watched() if readable is not None else []
        request = pb.StatusRequest(rows_for=[pb.RowsFor(model=one[0], version=one[1], variant=one[2]) for one in watched])
        status = pb.StatusResponse.FromString(replica.call(SHARD_STATUS, request.SerializeToString(), seconds))
        if another := why_another(deployment, status.deployment):
            return Health(False, another)
        got = status.shard_index, status.shard_count
        # Its rows are others: it would answer with misses, which nobody could tell from ids that are new.
        refused = "" if got == (index, count) else f"expected shard {index} of {count}, got shard {got[0]} of {got[1]}"
        start = status.server_start
        if is_known_start is not None and not is_known_start(start):
            return Health(False, "it is not, or not yet, a server that the middleware asks", server_start=start)
        if readable is not None and not refused:
            readable.note_variants(one.name for one in status.variants)
            for key, epochs in zip(watched, status.readable, strict=False):  # an older server says none
                readable.note_readable(key, epochs.first, epochs.last)
        return Health(
            status.ready,
            status.state,
            refused,
            status.version,
            status.rows,
            start,
            status.checkpoint_id,
            status.checkpoint_seconds,
            status.epoch_low,
            status.epoch,
            status.checkpoint_by_epochs,
        )

    return probe
