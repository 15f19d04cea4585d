"""The embedding servers that a router asks: a set of replicas for each shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc

from persia.checkpoint_id import checkpoint_name
from persia.errors import Unavailable
from persia.routing.checkpoint_choice import CheckpointChoice
from persia.rpc.connection import Answer
from persia.rpc.methods import LOOKUP
from persia.rpc.replica import Health, Probe
from persia.rpc.replicas import ReplicaSet
from persia.v1 import embedding_pb2 as pb
from persia.v1 import embedding_pb2_grpc as pb_grpc

__all__ = ["Knows", "lookup_messages", "of_size", "shard_sets"]


Knows = Callable[[int], bool]


def shard_sets(
    servers: Sequence[Sequence[str]], knows: Knows | None = None, on_change: Callable[[], None] = lambda: None
) -> list[ReplicaSet]:
    """For each shard its servers.

    Args:
        servers: For each shard, in order, the `host:port` of its replicas.
        knows: Whether a server with this start number is one of ours; None: whoever says that it is this shard.
        on_change: As for a Replica.
    """
    count = len(servers)
    return [
        ReplicaSet(f"shard {i} of {count}", LOOKUP, _probe(i, count, knows), one, on_change) for i, one in enumerate(servers)
    ]


def lookup_messages(count: int) -> list[pb.LookupRequest]:
    """What each shard is told beside a request's columns."""
    return [pb.LookupRequest(shard_index=i, shard_count=count) for i in range(count)]


def of_size(
    numbers: int, parts: int, knows: Knows | None = None, checkpoint_choice: CheckpointChoice | None = None
) -> Callable[[Answer], None]:
    """For a Question: only so many numbers are an answer, and misses of so many parts, if any.

    knows: as for shard_sets(). checkpoint_choice: only answers of its checkpoint are answers; None: those of any.
    """

    def check(answer: Answer) -> None:
        # A server may have been started anew since it was probed.
        if checkpoint_choice is not None and answer.message.checkpoint_id != checkpoint_choice.identity:
            wanted, its = checkpoint_name(checkpoint_choice.identity), checkpoint_name(answer.message.checkpoint_id)
            raise Unavailable(f"an answer that is none: expected one of checkpoint {wanted}, got one of {its}")
        misses = len(answer.message.misses)
        if misses and misses != 8 * parts:
            raise Unavailable(f"an answer that is none: expected misses of {parts} parts in {8 * parts} bytes, got {misses}")
        # Frames may come to another server than probes: where ports are forwarded, or another one has taken its place since.
        if knows is not None and not knows(answer.message.server_start):
            raise Unavailable("an answer that is none: of a server that the middleware does not ask")
        got = answer.columns[0].nbytes
        if got != 4 * numbers:
            raise Unavailable(f"an answer that is none: expected {numbers} numbers of 4 bytes, got {got} bytes")

    return check


def _probe(index: int, count: int, knows: Knows | None) -> Probe:
    def probe(channel: grpc.Channel, seconds: float) -> Health:
        status = pb_grpc.EmbeddingServerStub(channel).Status(pb.StatusRequest(), timeout=seconds)
        got = status.shard_index, status.shard_count
        # Its rows are others: it would answer with misses, which nobody could tell from ids that are new.
        refused = "" if got == (index, count) else f"expected shard {index} of {count}, got shard {got[0]} of {got[1]}"
        start = status.server_start
        if knows is not None and not knows(start):
            return Health(False, "it is not, or not yet, a server that the middleware asks", start=start)
        return Health(
            status.ready,
            status.state,
            status.frame_port,
            refused,
            status.version,
            status.rows,
            start,
            status.checkpoint_id,
            status.checkpoint_seconds,
        )

    return probe
