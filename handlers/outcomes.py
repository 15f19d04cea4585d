"""What becomes of each of the requests that TorchServe put together: a step of the work is for those that go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from persia.errors import DeadlineExceeded, InvalidInput, NotFound, PersiaError, TooLarge, Unavailable

__all__ = ["Outcomes"]

T = TypeVar("T")

_LATE: Any = b""  # an answer that nobody waits for
_KINDS = (TooLarge, InvalidInput, NotFound, Unavailable)  # as which an error of one request is raised for all


class Outcomes:
    """Of one call of a handler. What is wrong with one request that came over HTTP is for its caller alone.

    Of one that came over gRPC to TorchServe it is raised, and fails all: there is one status for all of them, and a caller
    would take an error in an answer's place for scores.
    """

    def __init__(self, context: Any, count: int, each_alone: bool = False) -> None:
        """context: the handler's; count: of requests. each_alone: an error is for its caller alone over any protocol."""
        self._context, self._count, self._each_alone = context, count, each_alone
        self._errors: dict[int, PersiaError] = {}
        self._open = list(range(count))

    def step(self, work: Callable[[list[int]], Sequence[T | PersiaError]]) -> dict[int, T]:
        """Does a step of the work for the requests that go on, by their indexes, which it gives with what came of each.

        work: an error in a request's place ends that request. It is not called for none.
        """
        if not self._open:
            return {}
        done: dict[int, T] = {}
        for i, outcome in zip(self._open, work(self._open), strict=True):
            if isinstance(outcome, PersiaError):
                self._end(i, outcome)
            else:
                done[i] = outcome
        self._open = list(done)
        return done

    def all(self, answers: Mapping[int, T]) -> list[T | PersiaError]:
        """Of all requests in their order. answers: of those that went on.

        Raises DeadlineExceeded where all callers' time is over.
        """
        if self._each_alone:
            return [self._errors[i] if i in self._errors else answers[i] for i in range(self._count)]
        late = [i for i, error in self._errors.items() if isinstance(error, DeadlineExceeded)]
        if len(late) == self._count:
            raise DeadlineExceeded(f"the time of all {self._count} callers was over before their embeddings came")
        outcomes: dict[int, T | PersiaError] = {**self._errors, **answers}
        outcomes |= {i: _LATE for i in late if self._over_grpc(i)}
        return [outcomes[i] for i in range(self._count)]

    def _end(self, i: int, error: PersiaError) -> None:
        if self._count == 1:
            raise error
        if (
            self._over_grpc(i) and not self._each_alone and not isinstance(error, DeadlineExceeded)
        ):  # being late is no reason to fail the others
            kind = next((kind for kind in _KINDS if isinstance(error, kind)), PersiaError)
            raise kind(f"request {i + 1} of {self._count} that TorchServe put together: {error}") from error
        self._errors[i] = error

    def _over_grpc(self, i: int) -> bool:
        """TorchServe passes no headers on from there; over HTTP it always adds this one."""
        return self._context.get_request_header(i, "explain") is None
