"""From a decoded batch to tensors: plan, ask all shards at once, assemble."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.config import EmbeddingConfig
from persia.errors import DeadlineExceeded, PersiaError, Unavailable
from persia.misses import MissReporter
from persia.routing.checkpoint_choice import CheckpointChoice
from persia.routing.lookup import Lookup, OnRoom, RouterOptions
from persia.routing.opened import Opened
from persia.routing.plan import make_slots
from persia.routing.shards import Knows, lookup_messages, of_size, shard_sets
from persia.rpc.fan_out import Patience, Question, ask_all
from persia.rpc.replicas import ReplicaSet

__all__ = ["Router"]

# The part of its time after which a lookup goes on without the shards that have not answered, if it may.
_WITHOUT = 0.8
# How often a lookup is begun anew because its answers were of different checkpoints.
_MAX_ATTEMPTS = 3
_REPORT_SECONDS = 1.0  # from one look at misses to the next


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
        self._patience = Patience(options.hedge_after, options.wait_for_shard, options.stay_awake)
        self.checkpoint_choice = CheckpointChoice(options.mixed_checkpoints != "error")
        self._shards = Opened(self._open_shards)
        dims = {slot.name: slot.dim for slot in config.slots.values()}
        self.feature_counts = _core.FeatureCounts(list(dims))
        self._reporter = MissReporter(self.feature_counts.totals, dims)
        self._next_report = 0.0
        self._config_id = config.fingerprint_id

    @property
    def shards(self) -> list[ReplicaSet]:
        """Made when they are first needed, in the process that needs them."""
        return self._shards.get()

    def lookup(self, batch: _core.Batch, timeout: float | None = None, on_room: OnRoom | None = None) -> Lookup:
        """As Lookups.lookup."""
        seconds = self.options.timeout if timeout is None else timeout
        # What is left when a shard is given up must do for an answer without it.
        end = time.monotonic() + seconds * (_WITHOUT if self.options.zeros_for_missing_shards else 1.0)
        shards = self.shards
        plan = _core.make_plan(batch, self._slots, len(shards))
        numbers, shapes = plan.room()
        began = time.monotonic()
        for attempt in range(_MAX_ATTEMPTS):
            questions = self._questions(plan, shards)
            self._ask(list(questions.values()), end, on_room and partial(on_room, numbers, shapes))
            checkpoints = {question.answer.message.checkpoint_id for question in questions.values() if question.answer}
            if len(checkpoints) < 2:
                break
            # Servers were started anew while they were asked, some before and some after they were.
            if attempt + 1 == _MAX_ATTEMPTS:
                raise Unavailable("expected rows of one checkpoint, got rows of several: the servers are being restarted")
        waited = time.monotonic() - began
        versions, absent, wrong_dim, missing = self._assemble(plan, questions, numbers)
        counts = self._count(plan, questions)
        if absent or wrong_dim:
            self._report(began)
        (checkpoint,) = checkpoints or {self.checkpoint_choice.identity}
        return Lookup(
            numbers,
            shapes,
            versions,
            absent,
            wrong_dim,
            missing,
            waited,
            batch,
            counts,
            checkpoint,
            self._config_id,
        )

    def _count(self, plan: _core.Plan, questions: dict[int, Question]) -> npt.NDArray[np.uint32]:
        """How the ids of each feature fared."""
        misses: list[bytes | None] = [b""] * len(self.servers)
        for i, question in questions.items():
            misses[i] = question.answer.message.misses if question.answer is not None else None
        return plan.count(misses, self.feature_counts)

    def _report(self, now: float) -> None:
        """Says in the log what is to be said of misses; not at every lookup that has some."""
        if now >= self._next_report:
            self._next_report = now + _REPORT_SECONDS
            self._reporter.look()

    def _questions(self, plan: _core.Plan, shards: list[ReplicaSet]) -> dict[int, Question]:
        """One to each shard that is to be asked."""
        questions = {}
        for i, request in enumerate(plan.requests):
            if request.answer_size:
                check = of_size(request.answer_size, request.part_count, self._knows, self.checkpoint_choice)
                questions[i] = Question(shards[i], self._messages[i], request, check)
        return questions

    def _ask(self, questions: list[Question], end: float, meanwhile: Callable[[], None] | None) -> None:
        all_or_none = not self.options.zeros_for_missing_shards
        ask_all(questions, end, self._patience, all_or_none=all_or_none, meanwhile=meanwhile)
        for question in questions:
            if question.error is not None and self.checkpoint_choice.problem and isinstance(question.error, Unavailable):
                raise Unavailable(self.checkpoint_choice.problem)
            if question.error is not None and not self._can_do_without(question.error):
                raise question.error

    def _assemble(
        self, plan: _core.Plan, questions: dict[int, Question], numbers: npt.NDArray[np.float16]
    ) -> tuple[list[int], int, int, list[int]]:
        """Fills the numbers. Returns versions, absent, wrong_dim and missing_shards of a Lookup."""
        # A shard that need not be asked has answered with nothing.
        answers: list[npt.NDArray[np.float32] | None] = [np.empty(0, np.float32)] * len(self.servers)
        versions = [0] * len(self.servers)
        absent = wrong_dim = 0
        missing = []
        for i, question in questions.items():
            answer = question.answer
            if answer is None:
                answers[i] = None
                missing.append(i)
                continue
            answers[i] = answer.columns[0].view(np.float32)
            versions[i] = answer.message.version
            absent += answer.message.absent
            wrong_dim += answer.message.wrong_dim
        plan.assemble(answers, numbers)
        return versions, absent, wrong_dim, missing

    def _can_do_without(self, error: PersiaError) -> bool:
        return self.options.zeros_for_missing_shards and isinstance(error, (Unavailable, DeadlineExceeded))

    def why_not_ready(self) -> str:
        """What is missing before a lookup can be answered; empty: nothing. One shard will do where others may be zeros."""
        if self.options.zeros_for_missing_shards and any(shards.usable for shards in self.shards):
            return ""
        return self.missing()

    def missing(self) -> str:
        """The shards that cannot be asked, and why; empty: none."""
        if problem := self.checkpoint_choice.problem:
            return problem
        missing = [shards for shards in self.shards if not shards.usable]
        return "; ".join(f"{shards.name} ({shards.why_unusable()})" for shards in missing)

    def hanging(self) -> bool:
        """Whether there is a shard of which no replica that can be used answers even probes."""
        return any(shards.hanging for shards in self.shards)

    def close(self) -> None:
        self._shards.close(_close)

    def _open_shards(self) -> list[ReplicaSet]:
        shards = shard_sets(self.servers, self._knows, self.checkpoint_choice.settle)
        self.checkpoint_choice.attach(shards)
        return shards


def _close(shards: list[ReplicaSet]) -> None:
    for replicas in shards:
        replicas.close()
