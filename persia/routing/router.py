"""From a decoded batch to tensors: plan, ask all shards at once, assemble."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.config import EmbeddingConfig
from persia.errors import DeadlineExceeded, PersiaError, Unavailable
from persia.routing.lookup import Lookup, RouterOptions
from persia.routing.opened import Opened
from persia.routing.plan import make_slots
from persia.routing.shards import shard_sets
from persia.rpc.connection import Answer
from persia.rpc.fan_out import Patience, Question, ask_all
from persia.rpc.replicas import ReplicaSet
from persia.v1 import embedding_pb2 as pb

__all__ = ["Router"]

# The part of its time after which a lookup goes on without the shards that have not answered, if it may.
_WITHOUT = 0.8


class Router:
    """Any number of threads may use it, of the process that used it first."""

    def __init__(self, config: EmbeddingConfig, servers: Sequence[Sequence[str]], options: RouterOptions) -> None:
        """servers: for each shard, in order, the `host:port` of its replicas; a host may be a name that stands for several."""
        self._slots = make_slots(config)
        # The rest of a request stands in its columns.
        self._messages = [pb.LookupRequest(shard_index=i, shard_count=len(servers)) for i in range(len(servers))]
        self.options = options
        self._patience = Patience(options.hedge_after, options.wait_for_shard)
        self._shards = Opened(lambda: shard_sets(servers))

    @property
    def shards(self) -> list[ReplicaSet]:
        """Made when they are first needed, in the process that needs them."""
        return self._shards.get()

    def lookup(self, batch: _core.Batch, timeout: float | None = None) -> Lookup:
        """timeout: seconds, instead of the options' own.

        Raises:
            InvalidInput, TooLarge: The batch does not fit the config, or a limit.
            Unavailable: A shard does not answer; names it.
            DeadlineExceeded: Not in time.
        """
        seconds = self.options.timeout if timeout is None else timeout
        # What is left when a shard is given up must do for an answer without it.
        end = time.monotonic() + seconds * (_WITHOUT if self.options.zeros_for_missing_shards else 1.0)
        shards = self.shards
        plan = _core.make_plan(batch, self._slots, len(shards))
        questions: dict[int, Question] = {}
        for i, request in enumerate(plan.requests):
            if request.answer_size:
                columns = [request.parts.data, request.signs.data, request.sum_counts.data, request.sum_samples.data]
                questions[i] = Question(shards[i], self._messages[i], columns, _of_size(request.answer_size))
        began = time.monotonic()
        ask_all(list(questions.values()), end, self._patience)
        return self._assemble(plan, questions, len(shards), time.monotonic() - began)

    def _assemble(self, plan: _core.Plan, questions: dict[int, Question], shards: int, seconds: float) -> Lookup:
        # A shard that need not be asked has answered with nothing.
        numbers: list[npt.NDArray[np.float32] | None] = [np.empty(0, np.float32)] * shards
        versions = [0] * shards
        absent = wrong_dim = 0
        missing = []
        for i, question in questions.items():
            answer = question.answer
            if answer is None:
                self._go_on_without(question.error)
                numbers[i] = None
                missing.append(i)
                continue
            numbers[i] = answer.columns[0].view(np.float32)
            versions[i] = answer.message.version
            absent += answer.message.absent
            wrong_dim += answer.message.wrong_dim
        return Lookup(*plan.assemble_flat(numbers), versions, absent, wrong_dim, missing, seconds)

    def _go_on_without(self, error: PersiaError | None) -> None:
        assert error is not None
        if not (self.options.zeros_for_missing_shards and isinstance(error, (Unavailable, DeadlineExceeded))):
            raise error

    def why_not_ready(self) -> str:
        """What is missing before a lookup can be answered; empty: nothing. One shard will do where others may be zeros."""
        if self.options.zeros_for_missing_shards and any(shards.usable for shards in self.shards):
            return ""
        return self.missing()

    def missing(self) -> str:
        """The shards that cannot be asked, and why; empty: none."""
        missing = [shards for shards in self.shards if not shards.usable]
        return "; ".join(f"{shards.name} ({shards.why_unusable()})" for shards in missing)

    def close(self) -> None:
        self._shards.close(_close)


def _close(shards: list[ReplicaSet]) -> None:
    for replicas in shards:
        replicas.close()


def _of_size(numbers: int) -> Callable[[Answer], None]:
    def check(answer: Answer) -> None:
        got = answer.columns[0].nbytes
        if got != 4 * numbers:
            raise Unavailable(f"an answer that is none: expected {numbers} numbers of 4 bytes, got {got} bytes")

    return check
