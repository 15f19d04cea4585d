"""The answers to requests that were scored before: what stands for a request whose rows are as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from persia.answer_cache import AnswerCache, CacheCounts
from persia.errors import PersiaError
from persia.routing.lookup import Lookup
from persia.torchserve.scores import DEADLINE, DETAILS, REQUEST_ID, VARIANT

__all__ = ["CachedAnswers", "answer_key"]

# What an answer does not depend on: when it is wanted, what is told beside it, and what the request is called. The variant
# says which rows it is made of, and these are in the key.
_NOT_IN_THE_KEY = (DEADLINE, DETAILS, REQUEST_ID, VARIANT)

Answer = bytes | PersiaError


def answer_key(request: Mapping[str, Any], lookup: Lookup) -> bytes:
    """Of all that an answer is made of: what the request says, and the rows that its ids have now.

    So a row that was changed, whichever way, changes the key; and where a table has a new version that changed other rows
    only, an answer that was kept is still the right one.
    """
    digest = hashlib.sha256()
    for name in sorted(request.keys() - _NOT_IN_THE_KEY):
        value = request[name]
        is_bytes = isinstance(value, (bytes, bytearray))
        encoded = value if is_bytes else repr(value).encode()
        digest.update(f"{name!r} {is_bytes} {len(encoded)}:".encode())
        digest.update(encoded)
    digest.update(lookup.shapes.data)
    digest.update(lookup.numbers.data)
    return digest.digest()


class CachedAnswers:
    """A cache of one model version's answers, in one worker."""

    def __init__(self, max_bytes: int) -> None:
        self._cache = AnswerCache(max_bytes)

    def answers(
        self,
        requests: Sequence[Mapping[str, Any]],
        features: Sequence[Any],
        score: Callable[[list[int]], Sequence[Answer]],
    ) -> tuple[list[Answer], list[bool]]:
        """The answers, and of each whether it was here.

        features: of each request, with their lookup. Where a subclass of the handler made some without one, nobody
        knows what they are made of, and all are scored. score: as AnswerCache.answers has `make`.
        """
        lookups = [getattr(one, "lookup", None) for one in features]
        if any(lookup is None for lookup in lookups):
            every = list(range(len(requests)))
            return list(score(every)), [False] * len(every)
        scored: set[int] = set()

        def make(indexes: list[int]) -> Sequence[Answer]:
            scored.update(indexes)
            return score(indexes)

        keys = [answer_key(request, lookup) for request, lookup in zip(requests, lookups, strict=True) if lookup is not None]
        answers = self._cache.answers(keys, make)
        return answers, [i not in scored for i in range(len(answers))]

    def counts(self) -> CacheCounts:
        """Since the worker started."""
        return self._cache.counts()
