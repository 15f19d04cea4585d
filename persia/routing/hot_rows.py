"""Copies of one shard's hot rows: all of one version, and used no longer than that is known to be the shard's current one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.routing.sightings import U64, Sightings, among
from persia.rpc.connection import Answer
from persia.v1 import embedding_pb2 as pb

__all__ = ["CacheTotals", "HotRows", "Origin", "RowsOfDim"]

_MOST_ROWS = 1 << 14  # that are asked for and added at a time
_FOLD_SECONDS = 5.0
# A request is asked for some of its signs first: one with many is seldom there as a whole, and that must not cost much.
_PROBED_SIGNS = 64
_SILENCE_SECONDS = 1.0
_STARTS = 16  # of servers, that are remembered

RowsOfDim = tuple[U64, npt.NDArray[np.float32]]  # signs (n), rows (n, dim)


class Origin(NamedTuple):
    """What tells rows apart: one start of one server, which counts its versions from 0, and the version.

    The checkpoint follows from the start.
    """

    start: int
    version: int
    checkpoint: int = 0

    @classmethod
    def of(cls, response: pb.LookupResponse) -> Origin | None:
        """None: of a server that is too old to say."""
        if not response.server_start:
            return None
        return cls(response.server_start, response.version, response.checkpoint_id)


@dataclass(frozen=True)
class CacheTotals:
    """Since the start. A request is what one lookup asks one shard."""

    requests: int
    requests_answered: int
    signs: int
    signs_answered: int
    rows: int  # now
    bytes: int  # now


@dataclass
class _Store:
    """Rows of one origin, none of them all zeros: what is looked up as zeros is not there."""

    origin: Origin
    table: _core.Table
    confirmed: float  # the newest time (time.monotonic()) of which it is known that the origin was current then
    absent: U64 = field(default_factory=lambda: np.empty(0, np.uint64))  # signs without a row there, sorted

    def age(self) -> float:
        """Its rows may have been out of date for so many seconds."""
        return time.monotonic() - self.confirmed

    def knows_of(self, signs: U64, absent: int) -> bool:
        """Whether those of the signs that have no row here, `absent` in number, have none there."""
        return not absent or np.count_nonzero(among(signs, self.absent)) == absent


class HotRows:
    """Any number of threads may ask it, one may add to it."""

    def __init__(self, max_bytes: int, dim: int, max_age: float, alone: Callable[[], bool]) -> None:
        """dim: the largest; max_age: seconds; alone: whether the shard has one replica only."""
        self._max_bytes, self._max_age, self._alone = max_bytes, max_age, alone
        # Measured: where rows come and go all the time, their table takes up to so much more than one that was filled once.
        room = int(max_bytes / (1.1 * _core.bytes_per_row("f32", dim) + 8))
        self.most_rows = max(1, min(_MOST_ROWS, room // 16))
        # Rows that are added are there twice for a moment, before as many go.
        self._capacity = max(1, room - 2 * self.most_rows)
        self.sightings = Sightings()
        self._lock = threading.Lock()
        self._store: _Store | None = None
        self._dropped: _Store | None = None
        self._newest: dict[int, int] = {}  # start of a server -> the newest version that it was seen to have
        self._requests = self._requests_answered = self._signs = self._signs_answered = 0

    def answer(self, request: _core.ShardRequest) -> Answer | None:
        """The shard's answer, if all of its rows are here and known well enough to be the current ones."""
        signs, store = request.signs, self._store
        found = None
        if store is not None and store.age() <= self._max_age:
            found = _answer_of(store, request, signs)
        with self._lock:
            self._requests += 1
            self._signs += len(signs)
            if found is not None:
                self._requests_answered += 1
                self._signs_answered += len(signs)
        if found is None:
            self.sightings.note(request.parts, signs)
        return found

    def saw(self, origin: Origin | None, since: float) -> None:
        """The shard has answered what it was asked at `since` (time.monotonic())."""
        if origin is None:
            return
        store = self._store
        if store is not None and store.origin == origin:
            store.confirmed = max(store.confirmed, since)
            return
        with self._lock:
            self._learn(origin)

    def add(self, origin: Origin, since: float, rows: Sequence[RowsOfDim], absent: int) -> None:
        """Rows of an answer to what the shard was asked at `since`; zeros stand for rows that are not there.

        absent: so many of the signs have no row; the others whose rows are zeros have some that cannot be used, or are zeros.
        """
        store = self._store_of(origin, since)
        if store is None:
            return
        layer = _core.Layer()
        zeros = []
        for signs, values in rows:
            kept = values.any(axis=1)
            layer.put(signs[kept], values[kept])
            zeros.append(signs[~kept])
        nothing = np.concatenate(zeros)
        if len(nothing) == absent:  # else nobody knows which
            # When there are too many of them, the older ones are forgotten.
            store.absent = np.union1d(store.absent if len(store.absent) < self.most_rows else nothing, nothing)
        store.table.publish(layer)
        # Layers must not pile up. And room that rows of one dim had is never given to those of another.
        if not store.table.wait_folded(_FOLD_SECONDS) or _bytes_of(store) > self._max_bytes:
            self._drop(store)

    def lacks(self, signs: U64, dim: int) -> npt.NDArray[np.bool_]:
        """(n): which of them have no row of that dim here."""
        store = self._store
        if store is None:
            return np.ones(len(signs), np.bool_)
        rows = store.table.pin().rows(signs, dim)[0]
        return np.logical_not(rows.any(axis=1) | among(signs, store.absent))

    def clean_up(self) -> None:
        """Frees what was dropped, so that no lookup has to."""
        self._dropped = None

    def totals(self) -> CacheTotals:
        store = self._store
        with self._lock:
            counts = self._requests, self._requests_answered, self._signs, self._signs_answered
        return CacheTotals(*counts, store.table.status().base_rows if store else 0, _bytes_of(store) if store else 0)

    def _store_of(self, origin: Origin, since: float) -> _Store | None:
        """Where rows of an origin go, or None if they are not wanted."""
        with self._lock:
            if not self._learn(origin):
                return None  # the shard is further already
            store = self._store
            if store is not None and store.origin != origin:
                return None  # another replica's rows are here
            if store is None:
                store = _Store(origin, _core.Table(_core.TableBuilder("f32", self._capacity)), since)
            store.confirmed = max(store.confirmed, since)
            self._store = store
            return store

    def _learn(self, origin: Origin) -> bool:
        """Drops rows that are seen not to be current; False for an origin that is not. REQUIRES: the lock is held."""
        if origin.version < self._newest.get(origin.start, 0):
            return False
        if len(self._newest) >= _STARTS:
            self._newest.clear()
        self._newest[origin.start] = origin.version
        store = self._store
        if store is None or store.origin == origin:
            return True
        # Versions of two servers say nothing of each other. But one that was alone and is another now was started anew, and
        # one of several that nobody has heard of for long makes room.
        if store.origin.start == origin.start or self._alone() or store.age() > self._max_age + _SILENCE_SECONDS:
            self._dropped, self._store = store, None
        return True

    def _drop(self, store: _Store) -> None:
        with self._lock:
            if self._store is store:
                self._dropped, self._store = store, None


def _answer_of(store: _Store, request: _core.ShardRequest, signs: U64) -> Answer | None:
    snapshot = store.table.pin()
    step = len(signs) // _PROBED_SIGNS
    if step > 1:
        probed = np.ascontiguousarray(signs[::step])
        if not store.knows_of(probed, snapshot.rows(probed, 1)[1]):
            return None
    numbers, absent, wrong_dim, misses = _core.answer(
        snapshot, request.parts.data, signs.data, request.sum_counts.data, request.sum_samples.data, request.answer_size
    )
    if wrong_dim or not store.knows_of(signs, absent):
        return None
    response = pb.LookupResponse(
        version=store.origin.version, absent=absent, misses=misses, checkpoint_id=store.origin.checkpoint
    )
    return Answer(response, [numbers.view(np.uint8)])


def _bytes_of(store: _Store) -> int:
    status = store.table.status()
    return status.base_bytes + status.layer_bytes + store.absent.nbytes
