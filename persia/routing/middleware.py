"""Lookups that a middleware does: the ids go there, and the tensors come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import grpc
import numpy as np

from persia import _core
from persia.errors import Unavailable
from persia.routing.lookup import SHAPE_NUMBERS, Lookup, OnRoom, RouterOptions
from persia.routing.opened import Opened
from persia.rpc.connection import Answer
from persia.rpc.fan_out import Patience, Question, ask_all
from persia.rpc.methods import FORWARD
from persia.rpc.replica import Health, Probe
from persia.rpc.replicas import ReplicaSet
from persia.v1 import middleware_pb2 as pb
from persia.v1 import middleware_pb2_grpc as pb_grpc

__all__ = ["MiddlewareClient", "OnProbe"]

# A channel to a middleware, and how long a call may take.
OnProbe = Callable[[grpc.Channel, float], None]

_WAY_BACK_SECONDS = 0.05
_MAX_MILLISECONDS = 2**32 - 1


class MiddlewareClient:
    """Any number of threads may use it, of the process that used it first."""

    def __init__(self, addresses: Sequence[str], options: RouterOptions, on_probe: OnProbe | None = None) -> None:
        """addresses: `host:port` of one or more middlewares that do the same.

        on_probe: called whenever one of them has said that it is ready, in the thread that asks it.
        """
        self.options = options
        self._patience = Patience(options.hedge_after, options.wait_for_shard, options.stay_awake)
        self._replicas = Opened(lambda: ReplicaSet("the middleware", FORWARD, _probe(on_probe), addresses))

    @property
    def replicas(self) -> ReplicaSet:
        """Made when they are first needed, in the process that needs them."""
        return self._replicas.get()

    def lookup(self, batch: _core.Batch, timeout: float | None = None, on_room: OnRoom | None = None) -> Lookup:
        """As Lookups.lookup. on_room: not called, for the shapes come with the numbers."""
        seconds = self.options.timeout if timeout is None else timeout
        request = pb.ForwardRequest(timeout_ms=_its_milliseconds(seconds))
        question = Question(self.replicas, request, [b"", batch.encode_ids()], _check)
        began = time.monotonic()
        ask_all([question], began + seconds, self._patience)
        if question.answer is None:
            assert question.error is not None
            raise question.error
        return _lookup_of(question.answer, time.monotonic() - began)

    def why_not_ready(self) -> str:
        """What is missing before a lookup can be answered; empty: nothing."""
        replicas = self.replicas
        return "" if replicas.usable else f"{replicas.name} ({replicas.why_unusable()})"

    def close(self) -> None:
        self._replicas.close(ReplicaSet.close)


def _its_milliseconds(seconds: float) -> int:
    """A little less than we have, so that its word about a shard that hangs comes before our own time is over."""
    return int(min(max(1.0, 1000 * (seconds - min(0.1 * seconds, _WAY_BACK_SECONDS))), _MAX_MILLISECONDS))


def _probe(on_probe: OnProbe | None) -> Probe:
    def probe(channel: grpc.Channel, seconds: float) -> Health:
        status = pb_grpc.MiddlewareStub(channel).Status(pb.MiddlewareStatusRequest(), timeout=seconds)
        if status.ready and on_probe is not None:
            on_probe(channel, seconds)
        return Health(status.ready, status.state, status.frame_port)

    return probe


def _check(answer: Answer) -> None:
    numbers, shapes = answer.columns
    if shapes.nbytes % (4 * SHAPE_NUMBERS):
        raise Unavailable(f"an answer that is none: expected shapes of {SHAPE_NUMBERS} u32, got {shapes.nbytes} bytes")
    rows = shapes.view(np.uint32).reshape(-1, SHAPE_NUMBERS).tolist()
    expected = 2 * sum([samples * (ids or 1) * numbers_each for samples, ids, numbers_each in rows])
    if numbers.nbytes != expected:
        raise Unavailable(f"an answer that is none: expected {expected} bytes for its shapes, got {numbers.nbytes}")


def _lookup_of(answer: Answer, seconds: float) -> Lookup:
    numbers, shapes = answer.columns
    message = answer.message
    return Lookup(
        numbers.view(np.float16),
        shapes.view(np.uint32),
        list(message.versions),
        message.absent,
        message.wrong_dim,
        list(message.missing_shards),
        seconds,
    )
