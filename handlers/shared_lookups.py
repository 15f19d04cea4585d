"""Requests that come together: small ones that fit each other are looked up by one lookup, the others at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from persia.ctx import Features
from persia.errors import DeadlineExceeded, InvalidInput, NotFound, PersiaError, TooLarge, Unavailable
from persia.handlers.deadlines import caller_seconds, seconds_left
from persia.handlers.request_lookups import Opened, RequestLookups
from persia.handlers.variant_choice import variant_of
from persia.torchserve.scores import BATCH
from persia.tracing import within_here

__all__ = ["features_together"]

# Of a batch that shares a lookup, and of all batches that share one. To share saves each of them the same time, whatever its
# size; and a lookup has one thread, where several have several.
MOST_BYTES_OF_ONE = 256 << 10
MOST_BYTES = 1 << 20

_Result = Features | PersiaError | None
_T = TypeVar("_T")


def features_together(
    lookups: RequestLookups, threads: Executor, requests: Sequence[Mapping[str, Any]], end: float
) -> list[_Result]:
    """Of each request: None if its caller's time is over first, and what is wrong with it as an error.

    threads: for those that have a lookup of their own. end: by time.monotonic(), when all are given up.
    Raises PersiaError where all are refused.
    """

    def of_one(i: int, do: Callable[[int], _T]) -> _T | PersiaError | None:
        try:
            return do(i)
        except (InvalidInput, NotFound, TooLarge) as error:
            return error
        except Unavailable as error:
            if variant_of(requests[i]):
                return error  # maybe of the variant: others have their rows
            raise
        except DeadlineExceeded:
            if caller_seconds(requests[i]) < end - time.monotonic():
                return None
            raise  # `timeout_ms` is over, and the caller waits to hear it

    def opened(i: int) -> Opened:
        return lookups.open(requests[i], seconds_left(requests[i], end))

    def by_itself(i: int) -> _Result:
        return of_one(i, lambda i: lookups.look_up(small.get(i) or opened(i)))

    results: dict[int, _Result] = {}
    alone: list[int] = []
    small: dict[int, Opened] = {}
    for i, request in enumerate(requests):
        if not lookups.shares or len(request.get(BATCH) or b"") > MOST_BYTES_OF_ONE:
            alone.append(i)
        elif isinstance(request_opened := of_one(i, opened), Opened):
            small[i] = request_opened
        else:
            results[i] = request_opened
    for group in _groups(small):
        features = _by_one_lookup(lookups, [small[i] for i in group], end) if len(group) > 1 else None
        if features is None:
            alone += group
        else:
            results.update(zip(group, features, strict=True))
    each = threads.map(within_here(by_itself), alone) if len(alone) > 1 else map(by_itself, alone)
    results.update(zip(alone, each, strict=True))
    return [results[i] for i in range(len(requests))]


def _groups(opened: Mapping[int, Opened]) -> Iterator[list[int]]:
    """Of those that fit each other, as many as share a lookup."""
    fitting: dict[Any, list[int]] = {}
    for i, one in opened.items():
        fitting.setdefault(one.fits() or i, []).append(i)
    for indexes in fitting.values():
        group: list[int] = []
        size = 0
        for i in indexes:
            if size + opened[i].size > MOST_BYTES:
                yield group
                group, size = [], 0
            group.append(i)
            size += opened[i].size
        yield group


def _by_one_lookup(lookups: RequestLookups, opened: Sequence[Opened], end: float) -> Sequence[_Result] | None:
    """None: each needs a lookup of its own, as a middleware does it, or something is wrong with one of them."""
    try:
        features = lookups.look_up_together(opened)
    except (InvalidInput, NotFound, TooLarge):
        return None
    except Unavailable as error:
        if opened[0].variant:
            return [error] * len(opened)
        raise
    except DeadlineExceeded:
        if all(one.end < end for one in opened):
            return [None] * len(opened)
        raise
    now = time.monotonic()
    return [result if one.end >= now else None for one, result in zip(opened, features, strict=True)]
