"""Asks several services at once, each of which may have replicas: retries, hedges, and keeps to the caller's time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from persia import _core
from persia.errors import DeadlineExceeded, PersiaError, Unavailable
from persia.rpc.connection import Answer, Columns, Connection
from persia.rpc.replica import Replica
from persia.rpc.replicas import ReplicaSet
from persia.rpc.status import error_of_code

__all__ = ["Patience", "Question", "ask_all"]

Check = Callable[[Answer], None]

# A request that no replica takes to its end is the request's fault, or nobody's: it is not tried for ever.
_MAX_ATTEMPTS = 6
# How often somebody who waits for a replica looks whether there is one.
_LOOK_SECONDS = 0.005
# How late a signal may be heard that came just before the wait.
_SIGNAL_SECONDS = 0.5


@dataclass(frozen=True)
class Patience:
    """Seconds."""

    replica: float  # until one that has not answered is hedged by another one
    service: float  # until a service of which no replica can be used is given up
    awake: float = 0.0  # until who waits for answers sleeps, at most


class Question:
    """One request to one service. Afterwards it has either `answer` or `error`."""

    def __init__(self, replicas: ReplicaSet, message: Any, columns: Columns, check: Check) -> None:
        """check: raises Unavailable for an answer that cannot be one to this request; then another replica is asked."""
        self.replicas, self.message, self.columns, self.check = replicas, message, columns, check
        self.answer: Answer | None = None
        self.error: PersiaError | None = None
        self.active: list[_Attempt] = []
        self._failed: list[Replica] = []
        self._problems: list[str] = []  # of each attempt that failed
        self._attempts = 0
        self._hedge_at = self._give_up_at = 0.0

    @property
    def done(self) -> bool:
        return self.answer is not None or self.error is not None

    def tick(self, now: float, end: float, patience: Patience) -> float:
        """Begins what is to be begun. Returns when it wants to be called again, if nothing happens before."""
        if now >= end:
            return self._fail(self._timed_out())
        if self.active:
            if now >= self._hedge_at:
                self._hedge(now, end, patience)
            return min(self._hedge_at, end)
        if self._attempts >= _MAX_ATTEMPTS:
            return self._fail(self._unavailable())
        replica = self.replicas.choose(self._failed) or self.replicas.choose()
        if replica is not None:
            self._begin(replica, now, end, patience)
            return min(self._hedge_at, end) if self.active else now
        # Nobody can be asked. A service that has been away for long is not waited for by each request anew.
        self._give_up_at = self._give_up_at or max(now, self.replicas.away_since() + patience.service)
        if now >= self._give_up_at:
            return self._fail(self._unavailable())
        return min(now + _LOOK_SECONDS, self._give_up_at, end)

    def _begin(self, replica: Replica, now: float, end: float, patience: Patience) -> None:
        self._attempts += 1
        self._hedge_at = now + patience.replica
        generation = replica.generation
        try:
            generation, connection = replica.connect()
        except PersiaError as error:
            self._lost(replica, generation, error)
            return
        attempt = _Attempt(replica, generation, connection)
        self.active.append(attempt)
        try:
            connection.ask(self.message, self.columns, end - now)
        except PersiaError as error:
            self._drop(attempt)
            self._lost(replica, generation, error)

    def _hedge(self, now: float, end: float, patience: Patience) -> None:
        """The first one may still answer; whichever does first counts."""
        asked = [attempt.replica for attempt in self.active]
        other = self.replicas.choose([*asked, *self._failed]) or self.replicas.choose(asked)
        for replica in asked:
            replica.slow()
        if other is None or len(self.active) > 1 or not _relieves(other, asked):
            self._hedge_at = now + patience.replica  # look again then
            return
        self._begin(other, now, end, patience)

    def look(self) -> None:
        """Takes what has come. The first answer counts."""
        for attempt in list(self.active):
            if self.done:
                return
            try:
                answer = attempt.connection.answer()
                refused = answer is not None and answer.message.HasField("error")
                if answer is not None and not refused:
                    self.check(answer)
            except PersiaError as failure:
                self._drop(attempt)
                self._lost(attempt.replica, attempt.generation, failure)
                continue
            if answer is None:
                continue
            self.active.remove(attempt)
            attempt.replica.release(attempt.generation, attempt.connection)
            if refused:
                error = error_of_code(answer.message.error.code, answer.message.error.message)
                self._lost(attempt.replica, attempt.generation, error)
            else:
                self.answer = answer

    def cancel(self) -> None:
        """Gives up what is under way."""
        for attempt in list(self.active):
            self._drop(attempt)

    def _drop(self, attempt: _Attempt) -> None:
        self.active.remove(attempt)
        attempt.connection.close()

    def _lost(self, replica: Replica, generation: int, error: PersiaError) -> None:
        if not isinstance(error, Unavailable):
            # The server has understood and refused: another one would, too.
            self.error = type(error)(f"{self.replicas.name} at {replica.address}: {error}")
            return
        self._failed.append(replica)
        self._problems.append(f"{replica.address}: {error}")
        replica.suspect(generation, str(error))

    def _fail(self, error: PersiaError) -> float:
        self.error = error
        return 0.0

    def _unavailable(self) -> Unavailable:
        # A replica that says that it is well is not the reason.
        why = "; ".join(dict.fromkeys(self._problems)) if self.replicas.usable else self.replicas.why_unusable()
        return Unavailable(f"expected an answer of {self.replicas.name}, got none: {why}")

    def _timed_out(self) -> PersiaError:
        if not self.active:
            if self._problems or not self.replicas.usable:
                return self._unavailable()
            return DeadlineExceeded(f"expected an answer of {self.replicas.name} in time, got no time to ask")
        asked = ", ".join(attempt.replica.address for attempt in self.active)
        return DeadlineExceeded(f"expected an answer of {self.replicas.name} in time, got none from {asked}")


def _relieves(other: Replica, asked: Sequence[Replica]) -> bool:
    """Where all replicas are slow, there is too much to do: to ask each of them for everything would make it twice as much."""
    return other.trouble == 0 or other.trouble < min([replica.trouble for replica in asked])


@dataclass(slots=True, eq=False)
class _Attempt:
    replica: Replica
    generation: int
    connection: Connection


def ask_all(
    questions: Sequence[Question],
    end: float,
    patience: Patience,
    *,
    all_or_none: bool = True,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Returns when each question has its answer or its error, at `end` (of time.monotonic()) at the latest.

    Args:
        questions: Where there are none, nothing is done.
        end: When they are given up.
        patience: With replicas and services.
        all_or_none: One error is enough: the other questions may then have neither.
        meanwhile: What is to be done while the services work; called once they are asked.
    """
    waiting = list(questions)
    try:
        while waiting:
            now = time.monotonic()
            wake = min([question.tick(now, end, patience) for question in waiting])
            if meanwhile is not None:
                meanwhile()
                meanwhile, now = None, time.monotonic()
            _wait_for(waiting, wake - now, patience.awake)
            for question in waiting:
                if not question.done:
                    question.look()
                if question.done:
                    question.cancel()  # what another replica still has under way
            if all_or_none and any(question.error is not None for question in waiting):
                return
            waiting = [question for question in waiting if not question.done]
    finally:
        for question in waiting:
            question.cancel()


def _wait_for(questions: Sequence[Question], seconds: float, awake: float) -> None:
    """Until one of them has got something, or something has failed."""
    calls: list[_core.net.FrameCall] = []
    descriptors: list[int] = []
    for question in questions:
        for attempt in question.active:
            if isinstance(waits_on := attempt.connection.waits_on, int):
                descriptors.append(waits_on)
            else:
                calls.append(waits_on)
    _core.net.exchange(calls, descriptors, min(seconds, _SIGNAL_SECONDS), awake)
