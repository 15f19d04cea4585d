"""A share of a handler's answers in files that take a bounded room. Nothing that answers waits for it.

Each worker writes files of its own, `{unix_ms}-{worker}-{number}.kept`, one after the other. When all files of the directory
take more than their room, the oldest go.
"""

from __future__ import annotations

import logging
import random
import re
import secrets
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from persia.errors import NotReplayable
from persia.torchserve.details import Details

from .kept import KEPT, MAGIC, encoded
from .receipt import KeptAnswer, receipt_of

__all__ = ["Ring", "may_be_torn"]

log = logging.getLogger(__name__)

_FILES = 8  # that the room is divided into: so much of it is given up at once
_WAITING_BYTES = 16 << 20  # of answers that are not written yet; what comes beyond is dropped
_MS = 1000


_NAME = re.compile(rf"(\d{{13}})-(\w+)-(\d+)\{KEPT}")


class _Waiting(NamedTuple):
    details: Details
    batch: bytes
    scores_format: str
    scores: bytes
    unix_ms: int

    @property
    def size(self) -> int:
        return len(self.batch) + len(self.scores)


class Ring:
    """Of one worker. Any thread may use it. It has a thread until close()."""

    def __init__(
        self, directory: Path, share: float, room: int, *, seed: int | None = None, waiting: int = _WAITING_BYTES
    ) -> None:
        """room: bytes that the files of all workers may take. waiting: bytes of answers that may wait to be written."""
        self._worker = secrets.token_hex(8)  # in the names of its files; numbers of processes are alike in containers
        self.dropped = 0  # answers that were to be kept, since the start
        self._directory, self._share, self._room, self._most_waiting = directory, share, room, waiting
        self._random = random.Random(seed)
        self._changed = threading.Condition()  # holds what follows
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0  # of the queue
        self._ended = False
        self._file: BinaryIO | None = None
        threading.Thread(target=self._run, name="kept-answers", daemon=True).start()

    def wants(self) -> bool:
        """Whether the next answer is one of those that are kept."""
        return self._random.random() < self._share and not self._ended

    def keep(self, details: Details, batch: bytes, scores_format: str, scores: bytes) -> bool:
        """Has an answer written, some time. False: it is dropped, because writing is behind or has ended. Never waits."""
        one = _Waiting(details, batch, scores_format, scores, round(time.time() * _MS))
        with self._changed:
            if self._ended or (self._queue and self._bytes + one.size > self._most_waiting):
                self.dropped += 1
                return False
            self._queue.append(one)
            self._bytes += one.size
            self._changed.notify()
        return True

    def close(self, seconds: float = 5.0) -> None:
        """Writes what waits, for so long at most. Idempotent."""
        end = time.monotonic() + seconds
        with self._changed:
            while self._queue and not self._ended and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
            self._ended = True
            self._changed.notify_all()

    def _run(self) -> None:
        number = 0
        try:
            while (one := self._next()) is not None:
                data = encoded(KeptAnswer(receipt_of(*one), one.batch))
                if self._file is None or self._file.tell() + len(data) > self._room // _FILES:
                    self._begin_file(number)
                    number += 1
                assert self._file is not None
                self._file.write(data)
                self._file.flush()
                self._take_off(one)
        except (OSError, NotReplayable) as error:
            log.error("answers are not kept any more, until the worker is started anew: %s", error)
        finally:
            with self._changed:
                self._ended = True
                self._queue.clear()
                self._changed.notify_all()
            if self._file is not None:
                with suppress(OSError):  # what it could not write before, it cannot now
                    self._file.close()

    def _next(self) -> _Waiting | None:
        """The oldest that waits, which stays in the queue until it is written; None: it is over."""
        with self._changed:
            while not self._queue and not self._ended:
                self._changed.wait()
            return self._queue[0] if self._queue and not self._ended else None

    def _take_off(self, one: _Waiting) -> None:
        with self._changed:
            self._queue.popleft()
            self._bytes -= one.size
            self._changed.notify_all()

    def _begin_file(self, number: int) -> None:
        """Closes the file, makes room for another one, and opens it."""
        if self._file is not None:
            self._file.close()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._make_room()
        path = self._directory / f"{round(time.time() * _MS):013}-{self._worker}-{number}{KEPT}"
        self._file = path.open("xb", buffering=1 << 16)
        self._file.write(MAGIC)

    def _make_room(self) -> None:
        """The oldest files go, whoever wrote them, until the one that begins has its part of the room."""
        sizes = {path: size for path in self._directory.glob(f"*{KEPT}") if (size := _size_of(path)) is not None}
        over = sum(sizes.values()) + self._room // _FILES - self._room
        for path in sorted(sizes):
            if over <= 0:
                return
            path.unlink(missing_ok=True)  # another worker may have been first
            over -= sizes[path]


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another worker has removed it
        return None


def may_be_torn(path: Path) -> bool:
    """Whether a file of a ring is the last one of the worker that wrote it, which may have been killed as it wrote."""
    said = _NAME.fullmatch(path.name)
    if said is None:
        return False
    after = [
        (other[1], int(other[3]))
        for each in path.parent.iterdir()
        if each.name != path.name and (other := _NAME.fullmatch(each.name)) and other[2] == said[2] and other[1] >= said[1]
    ]
    return not after or min(after)[1] != int(said[3]) + 1  # a later process of that number begins anew
