"""Answers that were given before, kept as long as there is room: the least recently asked for goes first.

A key says all that an answer depends on, so an entry is never wrong and need never be taken out. An error is no answer: what
failed once is made anew for whoever asks next.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar, cast

from persia.errors import InvalidInput, PersiaError

__all__ = ["ENTRY_BYTES", "AnswerCache", "CacheCounts"]

A = TypeVar("A", bound="bytes | PersiaError")

# What an entry takes beside the bytes of its key and its answer: up to 245, as measured in one whose entries come and go.
ENTRY_BYTES = 256


class CacheCounts(NamedTuple):
    """Of one cache. Each key of each call is a hit or a miss; one that a call has twice is a hit at least once."""

    hits: int
    misses: int
    entries: int  # now
    bytes: int  # now, with what each entry takes beside its key and its answer


class AnswerCache:
    """Any number of threads may use it: what several of them ask for at the same time is made by one of them."""

    def __init__(self, max_bytes: int) -> None:
        """max_bytes: of all entries; 0 keeps none, and still has equal keys of one call made once. Raises InvalidInput."""
        if max_bytes < 0:
            raise InvalidInput(f"expected room for 0 bytes of answers or more, got {max_bytes}")
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()  # the one that was asked for last comes last
        self._making: dict[bytes, threading.Event] = {}  # set when its maker has ended, whichever way
        self._bytes = self._hits = self._misses = 0

    def answers(self, keys: Sequence[bytes], make: Callable[[list[int]], Sequence[A]]) -> list[A]:
        """The answer to each key.

        Args:
            keys: Equal ones get equal answers.
            make: Gets the indexes of keys whose answers are not here, of equal keys the first, and gives an answer for each of
                them. Where that is a PersiaError, only this call gets it. It may be called again, for keys whose makers failed
                in other threads.

        Raises what `make` raises; nothing of that call is kept then.
        """
        found: dict[bytes, A] = {}
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        wanted = list(dict.fromkeys(keys))
        self._count(hits=len(keys) - len(wanted))
        while wanted:
            mine, others = self._take(wanted, found)
            if mine:
                self._make(mine, first, make, found)
            # Own work is done before others' is waited for, so no two wait for each other.
            for event in others.values():
                event.wait()
            wanted = list(others)
        return [found[key] for key in keys]

    def counts(self) -> CacheCounts:
        """As it is now."""
        with self._lock:
            return CacheCounts(self._hits, self._misses, len(self._answers), self._bytes)

    def _count(self, hits: int) -> None:
        with self._lock:
            self._hits += hits

    def _take(self, wanted: Iterable[bytes], found: dict[bytes, A]) -> tuple[list[bytes], dict[bytes, threading.Event]]:
        """Puts what is here into `found`. Returns the keys that the caller is to make, and those that others make just now."""
        mine, others = [], {}
        with self._lock:
            for key in wanted:
                if key in self._answers:
                    self._answers.move_to_end(key)
                    self._hits += 1
                    found[key] = cast(A, self._answers[key])
                elif key in self._making:
                    others[key] = self._making[key]
                else:
                    self._misses += 1
                    self._making[key] = threading.Event()
                    mine.append(key)
        return mine, others

    def _make(
        self, keys: list[bytes], first: dict[bytes, int], make: Callable[[list[int]], Sequence[A]], found: dict[bytes, A]
    ) -> None:
        """Makes the answers to keys that this thread has taken, and gives the keys back, also if it fails."""
        made: dict[bytes, A] = {}
        try:
            made = dict(zip(keys, make([first[key] for key in keys]), strict=True))
            found.update(made)
        finally:
            with self._lock:
                for key in keys:
                    answer = made.get(key)
                    if isinstance(answer, bytes):
                        self._put(key, answer)
                    self._making.pop(key).set()

    def _put(self, key: bytes, answer: bytes) -> None:
        """REQUIRES: the lock is held."""
        size = ENTRY_BYTES + len(key) + len(answer)
        if size > self._max_bytes:
            return
        self._answers[key] = answer
        self._bytes += size
        while self._bytes > self._max_bytes:
            oldest, given = self._answers.popitem(last=False)
            self._bytes -= ENTRY_BYTES + len(oldest) + len(given)
