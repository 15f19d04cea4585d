"""The embedding servers that a router asks: a service for each shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from persia import _core
from persia.routing.lookup import RouterOptions
from persia.rpc.prober import Health, Probe
from persia.rpc.service import Service
from persia.rpc.wire import SHARD_STATUS
from persia.v1 import embedding_pb2 as pb

__all__ = ["DenseWatch", "IsKnownStart", "shard_services"]

# Whether a server with this start number is one of ours.
IsKnownStart = Callable[[int], bool]


class DenseWatch(Protocol):
    """For which versions of dense models servers are watched. Any thread may use it."""

    def watched_dense(self) -> list[tuple[int, int]]:
        """Their keys."""

    def note_dense(self, dense: tuple[int, int], first: int, last: int) -> None:
        """The epochs that one of them may read, as a server has said; zeros: it has none."""


def shard_services(
    servers: Sequence[Sequence[str]],
    options: RouterOptions,
    is_known_start: IsKnownStart | None = None,
    on_change: Callable[[], None] = lambda: None,
    dense: DenseWatch | None = None,
) -> list[Service]:
    """For each shard its servers.

    Args:
        servers: For each shard, in order, the `host:port` of its replicas.
        options: How they are spoken to and watched.
        is_known_start: None: whoever says that it is this shard is one of ours.
        on_change: As for a Service.
        dense: None: they are watched for no dense model.
    """
    count = len(servers)
    return [
        Service(
            f"shard {i} of {count}", _probe(i, count, is_known_start, dense), one, options.security, on_change, options.watch
        )
        for i, one in enumerate(servers)
    ]


def _probe(index: int, count: int, is_known_start: IsKnownStart | None, dense: DenseWatch | None) -> Probe:
    def probe(replica: _core.net.Replica, seconds: float) -> Health:
        watched = dense.watched_dense() if dense is not None else []
        request = pb.StatusRequest(dense=[pb.DenseVersion(model=model, version=version) for model, version in watched])
        status = pb.StatusResponse.FromString(replica.call(SHARD_STATUS, request.SerializeToString(), seconds))
        got = status.shard_index, status.shard_count
        # Its rows are others: it would answer with misses, which nobody could tell from ids that are new.
        refused = "" if got == (index, count) else f"expected shard {index} of {count}, got shard {got[0]} of {got[1]}"
        start = status.server_start
        if is_known_start is not None and not is_known_start(start):
            return Health(False, "it is not, or not yet, a server that the middleware asks", server_start=start)
        if dense is not None:
            for key, epochs in zip(watched, status.dense, strict=False):  # an older server says none
                dense.note_dense(key, epochs.first, epochs.last)
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
