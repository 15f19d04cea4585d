"""Lookups that a middleware does: the ids go there, and the tensors come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import grpc
import numpy as np

from persia import _core
from persia.config.slots_match import SlotLike
from persia.errors import ConfigError, Unavailable
from persia.routing.expected_slots import PATH, ExpectedSlots
from persia.routing.lookup import FEATURE_NUMBERS, SHAPE_NUMBERS, Lookup, OnRoom, RouterOptions
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
        self._patience = Patience(options.hedge_after, options.wait_for_shard, options.stay_awake)
        self._replicas = Opened(lambda: ReplicaSet("the middleware", FORWARD, self._make_probe(on_probe), addresses))

    @property
    def replicas(self) -> ReplicaSet:
        """Made when they are first needed, in the process that needs them."""
        return self._replicas.get()

    def lookup(self, batch: _core.Batch, timeout: float | None = None, on_room: OnRoom | None = None) -> Lookup:
        """As Lookups.lookup. on_room: not called, for the shapes come with the numbers."""
        seconds = self.options.timeout if timeout is None else timeout
        request = pb.ForwardRequest(timeout_ms=_its_milliseconds(seconds))
        question = Question(self.replicas, request, [b"", batch.encode_ids()], self._check)
        began = time.monotonic()
        self._raise_if_refused()
        ask_all([question], began + seconds, self._patience)
        if question.answer is None:
            assert question.error is not None
            self._raise_if_refused()
            raise question.error
        return _lookup_of(question.answer, batch, time.monotonic() - began)

    def _raise_if_refused(self) -> None:
        """Raises ConfigError if there is no middleware with the slots that are expected, and one with others."""
        replicas = self.replicas.replicas
        if self._expected_slots is None or any(replica.usable for replica in replicas):
            return
        for replica in replicas:
            if replica.health.refused:
                raise ConfigError(f"the middleware at {replica.address} is not asked: {replica.health.refused}", PATH)

    def why_not_ready(self) -> str:
        """What is missing before a lookup can be answered; empty: nothing."""
        replicas = self.replicas
        return "" if replicas.usable else f"{replicas.name} ({replicas.why_unusable()})"

    def _make_probe(self, on_probe: OnProbe | None) -> Probe:
        expected_slots = self._expected_slots

        def probe(channel: grpc.Channel, seconds: float) -> Health:
            status = pb_grpc.MiddlewareStub(channel).Status(pb.MiddlewareStatusRequest(), timeout=seconds)
            refused = expected_slots.compare(status.embedding_config_id, status.embedding_config) if expected_slots else ""
            if status.ready and not refused and on_probe is not None:
                on_probe(channel, seconds)
            return Health(status.ready, status.state, status.frame_port, refused)

        return probe

    def _check(self, answer: Answer) -> None:
        _check(answer)
        if self._expected_slots is not None and not self._expected_slots.met_by(answer.message.embedding_config_id):
            raise Unavailable("an answer that is none: expected one by the embedding config that was compared, got another one")

    def close(self) -> None:
        self._replicas.close(ReplicaSet.close)


def _its_milliseconds(seconds: float) -> int:
    """A little less than we have, so that its word about a shard that hangs comes before our own time is over."""
    return int(min(max(1.0, 1000 * (seconds - min(0.1 * seconds, _WAY_BACK_SECONDS))), _MAX_MILLISECONDS))


def _check(answer: Answer) -> None:
    numbers, shapes = answer.columns
    if shapes.nbytes % (4 * SHAPE_NUMBERS):
        raise Unavailable(f"an answer that is none: expected shapes of {SHAPE_NUMBERS} u32, got {shapes.nbytes} bytes")
    rows = shapes.view(np.uint32).reshape(-1, SHAPE_NUMBERS).tolist()
    expected = 2 * sum([samples * (ids or 1) * numbers_each for samples, ids, numbers_each in rows])
    if numbers.nbytes != expected:
        raise Unavailable(f"an answer that is none: expected {expected} bytes for its shapes, got {numbers.nbytes}")
    counts = len(answer.message.features)
    if counts and counts != 4 * FEATURE_NUMBERS * len(rows):
        raise Unavailable(f"an answer that is none: expected the counts of {len(rows)} features, got {counts} bytes")


def _lookup_of(answer: Answer, batch: _core.Batch, seconds: float) -> Lookup:
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
        batch,
        np.frombuffer(message.features, np.uint32),
        message.checkpoint_id,
        message.embedding_config_id,
    )
