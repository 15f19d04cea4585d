"""What a trainer holds: it commits rows, and packets come out."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from persia.errors import InvalidInput

from .arrays import check_block
from .buckets import F32, U64
from .clock import Clock, SystemClock
from .packet_writer import PacketWriter
from .row_buffer import RowBuffer

_log = logging.getLogger(__name__)


class IncrementalDumper:
    """Gathers changed rows and writes them as packets to `incremental_dir/s{shard_index}`.

    A packet is written when `buffer_size` signs have come together, by the commit that brings the last of them, so a disk
    that is too slow slows the trainer down; or, by a thread of the dumper's, `seconds` after the first of its commits.

    No commit is lost: rows leave the buffer when they are on disk. When writing fails, they stay, and the error is raised
    by the call that wrote, or by the next commit if it was the thread, which tries again every `seconds`. Until it
    succeeds the buffer grows beyond `buffer_size`. The end of the program does not wait for the rest: use the dumper as a
    context manager, or close it.

    Every method may be called from several threads at a time.
    """

    def __init__(
        self,
        incremental_dir: str | os.PathLike[str],
        *,
        shard_index: int = 0,
        buffer_size: int = 1_000_000,
        seconds: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        """Makes the directory if need be, and goes on where the last writer of this shard stopped.

        Raises:
            InvalidInput: a number is out of range.
            Unavailable: another dumper, of any process, is writing for this shard.
            OSError: the directory cannot be written.
        """
        if not 0 <= shard_index <= 65_535 or buffer_size < 1 or not seconds > 0:
            expected = "expected shard_index from 0 to 65535, buffer_size >= 1 and seconds > 0"
            raise InvalidInput(f"{expected}, got {shard_index}, {buffer_size} and {seconds}")
        self._buffer_size = buffer_size
        self._seconds = seconds
        self._clock = SystemClock() if clock is None else clock
        self._writing = threading.Lock()  # taken before `_changed`, and held while a packet is written
        self._writer = PacketWriter(Path(incremental_dir), shard_index)
        self._changed = threading.Condition()  # holds what follows
        self._buffer = RowBuffer()
        self._due = 0.0  # when the thread is to write, if the buffer is not empty
        self._error: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._flush_when_due, name="incremental-dumper", daemon=True)
        self._thread.start()

    def commit(self, signs: U64, rows: F32) -> None:
        """Takes rows over: signs (n) of uint64, rows (n, dim) of float32. The latest row of a sign counts, of any dim.

        Raises:
            InvalidInput: wrong arrays, or the dumper is closed; nothing was taken.
            OSError: writing failed, now or in the thread. These rows, too, are in the buffer.
        """
        signs, rows = check_block(signs, rows)
        with self._changed:
            if self._closed:
                raise InvalidInput("expected a commit before the dumper is closed, got one after")
            if not len(self._buffer):
                self._due = self._clock.monotonic() + self._seconds
                self._changed.notify_all()
            self._buffer.add(signs, rows)
            full = len(self._buffer) >= self._buffer_size
            error, self._error = (None, self._error) if full else (self._error, None)
        if full:
            self._flush(self._buffer_size)  # unless another thread has done so by now
        elif error is not None:
            raise error

    def flush(self) -> Path | None:
        """Writes what is in the buffer, and returns the packet's directory; None if there is nothing to write.

        Raises:
            OSError: it cannot be written; it stays in the buffer.
        """
        return self._flush(1)

    def _flush(self, least: int) -> Path | None:
        """Writes the buffer if it has at least so many signs."""
        with self._writing:
            with self._changed:
                if len(self._buffer) < least:
                    return None
                taken, self._buffer = self._buffer, RowBuffer()
            try:
                packet = self._writer.write(taken.blocks(), self._clock.time())
            except BaseException:
                self._put_back(taken)
                raise
            with self._changed:
                self._error = None  # what failed before is written now
            return packet

    def close(self) -> None:
        """Writes the rest and stops. After an error the dumper is still open, and close may be tried again."""
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        # A commit may have come between the two.
        self.flush()
        self._writer.close()

    def __enter__(self) -> IncrementalDumper:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _put_back(self, taken: RowBuffer) -> None:
        """Under the rows that were committed in the meantime."""
        with self._changed:
            for signs, rows in self._buffer.blocks():
                taken.add(signs, rows)
            self._buffer = taken
            self._due = self._clock.monotonic() + self._seconds
            self._changed.notify_all()

    def _flush_when_due(self) -> None:
        while self._wait_until_due():
            try:
                self.flush()
            except Exception as error:
                # Whatever it is: the rows are in the buffer, and who commits next is told.
                _log.warning("writing a packet failed, next try in %g s: %s", self._seconds, error)
                with self._changed:
                    self._error = error

    def _wait_until_due(self) -> bool:
        """False when the dumper is closed."""
        with self._changed:
            while not self._closed:
                left = self._due - self._clock.monotonic() if len(self._buffer) else None
                if left is not None and left <= 0:
                    return True
                self._clock.wait(self._changed, left)
            return False
