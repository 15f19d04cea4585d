"""Asks several services at once, each of which may have replicas: retries, hedges, and keeps to the caller's time."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import Buffer

from persia.errors import DeadlineExceeded, PersiaError, Unavailable
from persia.rpc.connection import Answer, Connection
from persia.rpc.replica import Replica
from persia.rpc.replicas import ReplicaSet
from persia.rpc.status import error_of_code

__all__ = ["Patience", "Question", "ask_all"]

Check = Callable[[Answer], None]

# A request that no replica takes to its end is the request's fault, or nobody's: it is not tried for ever.
_MAX_ATTEMPTS = 6
# How often somebody who waits for a replica looks whether there is one.
_LOOK_SECONDS = 0.005


@dataclass(frozen=True)
class Patience:
    """Seconds."""

    replica: float  # until one that has not answered is hedged by another one
    service: float  # until a service of which no replica can be used is given up


class Question:
    """One request to one service. Afterwards it has either `answer` or `error`."""

    def __init__(self, replicas: ReplicaSet, message: Any, columns: Sequence[Buffer], check: Check) -> None:
        """check: raises Unavailable for an answer that cannot be one to this request; then another replica is asked."""
        self.replicas, self.message, self.columns, self.check = replicas, message, columns, check
        self.answer: Answer | None = None
        self.error: PersiaError | None = None
        self._active: dict[int, _Attempt] = {}
        self._failed: list[Replica] = []
        self._problems: list[str] = []  # of each attempt that failed
        self._attempts = 0
        self._hedge_at = self._give_up_at = 0.0

    @property
    def done(self) -> bool:
        return self.answer is not None or self.error is not None

    def tick(self, now: float, end: float, patience: Patience, poll: select.poll) -> float:
        """Begins what is to be begun. Returns when it wants to be called again, if nothing happens before."""
        if now >= end:
            return self._fail(self._timed_out())
        if self._active:
            if now >= self._hedge_at:
                self._hedge(now, end, patience, poll)
            return min(self._hedge_at, end)
        if self._attempts >= _MAX_ATTEMPTS:
            return self._fail(self._unavailable())
        replica = self.replicas.choose(self._failed) or self.replicas.choose()
        if replica is not None:
            self._begin(replica, now, end, patience, poll)
            return min(self._hedge_at, end) if self._active else now
        # Nobody can be asked. A service that has been away for long is not waited for by each request anew.
        self._give_up_at = self._give_up_at or max(now, self.replicas.away_since() + patience.service)
        if now >= self._give_up_at:
            return self._fail(self._unavailable())
        return min(now + _LOOK_SECONDS, self._give_up_at, end)

    def _begin(self, replica: Replica, now: float, end: float, patience: Patience, poll: select.poll) -> None:
        self._attempts += 1
        self._hedge_at = now + patience.replica
        generation = replica.generation
        try:
            generation, connection = replica.connect()
        except PersiaError as error:
            self._lost(replica, generation, error)
            return
        fileno = connection.fileno()
        attempt = self._active[fileno] = _Attempt(replica, generation, connection)
        try:
            connection.ask(self.message, self.columns, end - now)
        except PersiaError as error:
            self._drop(fileno, poll)
            self._lost(replica, generation, error)
            return
        attempt.events = connection.events
        poll.register(fileno, connection.events)

    def _hedge(self, now: float, end: float, patience: Patience, poll: select.poll) -> None:
        """The first one may still answer; whichever does first counts."""
        asked = [attempt.replica for attempt in self._active.values()]
        other = self.replicas.choose([*asked, *self._failed]) or self.replicas.choose(asked)
        for replica in asked:
            replica.slow()
        if other is None or len(self._active) > 1 or not _relieves(other, asked):
            self._hedge_at = now + patience.replica  # look again then
            return
        self._begin(other, now, end, patience, poll)

    def advance(self, fileno: int, poll: select.poll) -> None:
        """Something has come on a connection of this question. REQUIRES: it is not done."""
        attempt = self._active[fileno]
        try:
            answer = attempt.connection.advance()
            refused = answer is not None and answer.message.HasField("error")
            if answer is not None and not refused:
                self.check(answer)
        except PersiaError as failure:
            self._drop(fileno, poll)
            self._lost(attempt.replica, attempt.generation, failure)
            return
        if answer is None:
            if attempt.events != attempt.connection.events:
                attempt.events = attempt.connection.events
                poll.modify(fileno, attempt.events)
            return
        poll.unregister(fileno)
        del self._active[fileno]
        attempt.replica.release(attempt.generation, attempt.connection)
        if refused:
            error = error_of_code(answer.message.error.code, answer.message.error.message)
            self._lost(attempt.replica, attempt.generation, error)
        else:
            self.answer = answer

    def cancel(self, poll: select.poll) -> None:
        """Gives up what is under way."""
        for fileno in list(self._active):
            self._drop(fileno, poll)

    def _drop(self, fileno: int, poll: select.poll) -> None:
        attempt = self._active.pop(fileno)
        if attempt.events:
            poll.unregister(fileno)
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
        if not self._active:
            if self._problems or not self.replicas.usable:
                return self._unavailable()
            return DeadlineExceeded(f"expected an answer of {self.replicas.name} in time, got no time to ask")
        asked = ", ".join(attempt.replica.address for attempt in self._active.values())
        return DeadlineExceeded(f"expected an answer of {self.replicas.name} in time, got none from {asked}")


def _relieves(other: Replica, asked: Sequence[Replica]) -> bool:
    """Where all replicas are slow, there is too much to do: to ask each of them for everything would make it twice as much."""
    return other.trouble == 0 or other.trouble < min([replica.trouble for replica in asked])


@dataclass(slots=True)
class _Attempt:
    replica: Replica
    generation: int
    connection: Connection
    events: int = 0  # as they are registered


def ask_all(questions: Sequence[Question], end: float, patience: Patience) -> None:
    """Returns when each question has its answer or its error, at `end` (of time.monotonic()) at the latest."""
    poll = select.poll()
    waiting = list(questions)
    try:
        while waiting:
            now = time.monotonic()
            wake = min([question.tick(now, end, patience, poll) for question in waiting])
            for fileno, _ in poll.poll(max(0.0, wake - now) * 1000):
                for question in waiting:  # few, and often one: to look is cheaper than to keep account
                    if fileno in question._active:
                        if not question.done:
                            question.advance(fileno, poll)
                        break
            for question in waiting:
                if question.done:
                    question.cancel(poll)  # what another replica still has under way
            waiting = [question for question in waiting if not question.done]
    finally:
        for question in waiting:
            question.cancel(poll)
