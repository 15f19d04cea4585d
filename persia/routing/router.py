"""From a decoded batch to tensors: plan, ask all shards at once, assemble."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.config import EmbeddingConfig
from persia.errors import DeadlineExceeded, PersiaError, Unavailable
from persia.routing.hot_rows import HotRows, Origin
from persia.routing.lookup import Lookup, RouterOptions
from persia.routing.opened import Opened
from persia.routing.plan import make_slots
from persia.routing.row_cache import RowCache
from persia.routing.shards import Knows, lookup_messages, of_size, shard_sets
from persia.rpc.fan_out import Patience, Question, ask_all
from persia.rpc.replicas import ReplicaSet

__all__ = ["Router"]

# The part of its time after which a lookup goes on without the shards that have not answered, if it may.
_WITHOUT = 0.8


class Router:
    """Any number of threads may use it, of the process that used it first."""

    def __init__(
        self,
        config: EmbeddingConfig,
        servers: Sequence[Sequence[str]],
        options: RouterOptions,
        knows: Knows | None = None,
    ) -> None:
        """servers: for each shard, in order, the `host:port` of its replicas; a host may be a name that stands for several.

        knows: as for shard_sets().
        """
        self.servers = servers
        self._knows = knows
        self._slots = make_slots(config)
        self._messages = lookup_messages(len(servers))
        self.options = options
        self._patience = Patience(options.hedge_after, options.wait_for_shard)
        self._shards = Opened(lambda: shard_sets(servers, knows))
        self._row_cache = Opened(self._open_row_cache) if options.row_cache_max_age else None
        self._largest_dim = max([slot.dim for slot in config.slots.values()], default=1)

    @property
    def shards(self) -> list[ReplicaSet]:
        """Made when they are first needed, in the process that needs them."""
        return self._shards.get()

    @property
    def hot_rows(self) -> list[HotRows]:
        """The cache of each shard; none where there is no cache."""
        return self._row_cache.get().shards if self._row_cache is not None else []

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
                questions[i] = Question(shards[i], self._messages[i], columns, of_size(request.answer_size, self._knows))
        began = time.monotonic()
        self._ask(plan, questions, end)
        return self._assemble(plan, questions, len(shards), time.monotonic() - began)

    def _ask(self, plan: _core.Plan, questions: dict[int, Question], end: float) -> None:
        if self._row_cache is None:
            ask_all(list(questions.values()), end, self._patience)
            return
        hot_rows = self.hot_rows
        for i, request in enumerate(plan.requests):
            if i in questions:
                questions[i].answer = hot_rows[i].answer(request)
        since = time.monotonic()
        asked = {i: question for i, question in questions.items() if not question.done}
        ask_all(list(asked.values()), end, self._patience)
        for i, question in asked.items():
            if question.answer is not None:
                hot_rows[i].saw(Origin.of(question.answer.message), since)

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

    def hanging(self) -> bool:
        """Whether there is a shard of which no replica that can be used answers even probes."""
        return any(shards.hanging for shards in self.shards)

    def close(self) -> None:
        if self._row_cache is not None:
            self._row_cache.close(RowCache.close)
        self._shards.close(_close)

    def _open_row_cache(self) -> RowCache:
        return RowCache(self.shards, self.options.row_cache_bytes, self._largest_dim, self.options.row_cache_max_age)


def _close(shards: list[ReplicaSet]) -> None:
    for replicas in shards:
        replicas.close()
