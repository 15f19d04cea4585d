"""The hot rows of all shards, and the thread that asks the shards for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from persia.errors import DeadlineExceeded, Unavailable
from persia.routing.hot_rows import HotRows, Origin, RowsOfDim
from persia.routing.shards import lookup_messages, of_size
from persia.routing.sightings import U64
from persia.rpc.bell import Bell
from persia.rpc.connection import Answer
from persia.rpc.fan_out import Patience, Question, ask_all
from persia.rpc.replicas import ReplicaSet
from persia.v1 import embedding_pb2 as pb

__all__ = ["RowCache"]

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.05
_REST = 4  # for each second of work
_MAX_NUMBERS = 1 << 20  # of an answer
_ASK_SECONDS = 1.0
_PATIENCE = Patience(replica=_ASK_SECONDS, service=0.0)
_ROWS = 0  # a part's kind
_EMPTY = np.empty(0, np.uint8).data


class RowCache:
    """Has a thread until close()."""

    def __init__(self, shards: Sequence[ReplicaSet], max_bytes: int, dim: int, max_age: float) -> None:
        """max_bytes: for all shards together; dim: the largest; max_age: seconds."""
        self._replicas, self._messages = shards, lookup_messages(len(shards))
        self.shards = [HotRows(max_bytes // len(shards), dim, max_age, _is_alone(replicas)) for replicas in shards]
        self._bell, self._closed = Bell(), False
        threading.Thread(target=self._fill, name="row cache", daemon=True).start()

    def close(self) -> None:
        # The thread is not waited for: garbage collection may call this in that very thread.
        self._closed = True
        self._bell.ring()

    def _fill(self) -> None:
        pause = _PAUSE_SECONDS
        while not (self._bell.wait(pause) or self._closed):
            began = time.monotonic()
            for target in zip(self._replicas, self._messages, self.shards, strict=True):
                self._fill_shard(*target)
            pause = max(_PAUSE_SECONDS, _REST * (time.monotonic() - began))

    def _fill_shard(self, replicas: ReplicaSet, message: pb.LookupRequest, rows: HotRows) -> None:
        rows.clean_up()
        try:
            for wanted in _requests(rows):
                if self._closed or not _ask(replicas, message, rows, wanted):
                    return
        except Exception:  # lookups go on without
            log.exception("rows of %s are not cached", replicas.name)


def _is_alone(replicas: ReplicaSet) -> Callable[[], bool]:
    return lambda: len(replicas.replicas) < 2


def _requests(rows: HotRows) -> Iterator[list[tuple[int, U64]]]:
    """Signs by their dim, of as many rows as are asked for at a time."""
    signs, dims = rows.sightings.take()
    wanted: list[tuple[int, U64]] = []
    count = numbers = 0
    for dim in np.unique(dims).tolist():
        of_dim = signs[dims == dim]
        of_dim = of_dim[rows.lacks(of_dim, dim)]
        while len(of_dim):
            fit = min(rows.most_rows - count, (_MAX_NUMBERS - numbers) // dim)
            if fit > 0:
                wanted.append((dim, of_dim[:fit]))
                count += len(wanted[-1][1])
                numbers += dim * len(wanted[-1][1])
                of_dim = of_dim[fit:]
            else:
                yield wanted
                wanted, count, numbers = [], 0, 0
    if wanted:
        yield wanted


def _ask(replicas: ReplicaSet, message: pb.LookupRequest, rows: HotRows, wanted: list[tuple[int, U64]]) -> bool:
    """False where there is no use in asking for more."""
    parts = np.array([[0, _ROWS, dim, 1, len(signs), 0] for dim, signs in wanted], np.uint32)
    signs = np.concatenate([signs for _, signs in wanted])
    size = sum(dim * len(signs) for dim, signs in wanted)
    question = Question(replicas, message, [parts.data, signs.data, _EMPTY, _EMPTY], of_size(size, len(parts)))
    since = time.monotonic()
    ask_all([question], since + _ASK_SECONDS, _PATIENCE)
    if question.answer is None:
        if not isinstance(question.error, (Unavailable, DeadlineExceeded)):  # these the next lookup meets, too
            log.warning("rows of %s are not cached: %s", replicas.name, question.error)
        return False
    origin = Origin.of(question.answer.message)
    if origin is None:
        return False
    rows.add(origin, since, _rows_of(question.answer, wanted), question.answer.message.absent)
    return True


def _rows_of(answer: Answer, wanted: list[tuple[int, U64]]) -> list[RowsOfDim]:
    ends = np.cumsum([dim * len(signs) for dim, signs in wanted])
    numbers = np.split(answer.columns[0].view(np.float32), ends[:-1])
    return [(signs, part.reshape(-1, dim)) for (dim, signs), part in zip(wanted, numbers, strict=True)]
