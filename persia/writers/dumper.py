"""What a trainer holds: it commits rows and deletions, and packets come out."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from persia.errors import FeatureError, InvalidInput
from persia.storage import place_of

from .arrays import check_lifetimes, check_signs
from .buckets import F32, U64
from .clock import Clock, SystemClock
from .named import ConfigLike, SignMaker
from .packet_upload import PacketUpload
from .packet_writer import PacketWriter
from .row_buffer import Change, RowBuffer

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
        embedding_config: ConfigLike | None = None,
        allow_non_finite: bool = False,
        rows_per_file: int = 1 << 18,
        clock: Clock | None = None,
        variant: str = "",
    ) -> None:
        """Makes the directory if need be, and goes on where the last writer of this shard stopped.

        Args:
            incremental_dir: the directory that servers look for packets in, or the URL of a store, as s3://bucket/path.
            shard_index: of the training shard; each has a dumper of its own.
            buffer_size: signs that a packet is written for at once.
            seconds: between the first commit and the packet, at most.
            embedding_config: the embedding config or its file, with which commit_feature makes signs.
            allow_non_finite: rows with NaN or infinite numbers are written rather than being an error.
            rows_per_file: a packet with more rows has several files.
            clock: the system's, if None.
            variant: to which the packets belong; empty: to the rows that all share. Rows of a variant have no time to live, and
                are served when EpochCommitter.commit(variant=...) has committed them.

        Raises:
            ConfigError: the embedding config is wrong.
            InvalidInput: a number is out of range, or no variant can have that name.
            Unavailable: another dumper, of any process, is writing for this shard.
            OSError: the directory or the store cannot be written.
        """
        if not 0 <= shard_index <= 65_535 or buffer_size < 1 or not seconds > 0 or rows_per_file < 1:
            expected = "expected shard_index from 0 to 65535, buffer_size >= 1, seconds > 0 and rows_per_file >= 1"
            raise InvalidInput(f"{expected}, got {shard_index}, {buffer_size}, {seconds} and {rows_per_file}")
        self._signer = SignMaker(embedding_config, allow_non_finite=allow_non_finite)
        self._buffer_size = buffer_size
        self._seconds = seconds
        self._clock = SystemClock() if clock is None else clock
        self._writing = threading.Lock()  # taken before `_changed`, and held while a packet is written
        place = place_of(os.fspath(incremental_dir))
        self._writer: PacketWriter | PacketUpload
        if place.path is not None:
            self._writer = PacketWriter(place.path, shard_index, rows_per_file, variant)
        elif variant:
            raise InvalidInput(f"expected a directory for packets of a variant, got the store {incremental_dir}")
        else:
            self._writer = PacketUpload(place.open(), shard_index, rows_per_file)
        self._changed = threading.Condition()  # holds what follows
        self._buffer = RowBuffer()
        self._due = 0.0  # when the thread is to write, if the buffer is not empty
        self._error: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._flush_when_due, name="incremental-dumper", daemon=True)
        self._thread.start()

    def commit_feature(self, feature: str, ids: Any, rows: F32, ttl: Any = None) -> None:
        """Takes rows of a feature over: ids (n) as they are in requests, rows (n, dim) of float32.

        Args:
            feature: a slot of the embedding config, without a hash stack.
            ids: n of them, of any form that a request may have.
            rows: the latest of an id counts.
            ttl: seconds after which the rows go, for all or for each (n); None: they stay. The latest commit of an id counts.

        Raises:
            FeatureError: no such slot, another dim, a hash stack, or ids that share a row but not its numbers.
            InvalidInput: wrong arrays, no embedding config is known, or the dumper is closed; nothing was taken.
            OSError: writing failed, now or in the thread. These rows, too, are in the buffer.
        """
        signs, block = self._signer.named_block(feature, ids, rows)
        if ttl is not None and np.ndim(ttl) and len(signs) != len(rows):
            raise FeatureError(feature, "expected one time to live for all where ids share a row, got one for each")
        self._commit(Change(signs, block, self._ends(ttl, len(signs))))

    def delete_feature(self, feature: str, ids: Any) -> None:
        """From the next packet on, ids of a feature have no row, until one is committed again. Raises as commit_feature."""
        signs = self._signer.named_signs(feature, ids)
        self._commit(Change(signs, None))

    def commit(self, signs: U64, rows: F32, ttl: Any = None) -> None:
        """As commit_feature, for someone who has signs: signs (n) of uint64, rows (n, dim) of float32, of any dim.

        Raises:
            InvalidInput: wrong arrays, ids in the place of signs, or the dumper is closed; nothing was taken.
            OSError: writing failed, now or in the thread. These rows, too, are in the buffer.
        """
        signs, rows = self._signer.block(signs, rows)
        self._commit(Change(signs, rows, self._ends(ttl, len(signs))))

    def delete(self, signs: U64) -> None:
        """From the next packet on, the signs (n) of uint64 have no row, until one is committed again. Raises as commit."""
        signs = check_signs(signs)
        self._signer.check_signs(signs)
        self._commit(Change(signs, None))

    def _ends(self, ttl: Any, n: int) -> U64 | None:
        if ttl is not None and self._writer.variant:
            raise InvalidInput(f"expected rows without a time to live for variant {self._writer.variant}, got some with one")
        return None if ttl is None else check_lifetimes(ttl, n, self._clock.time())

    def _commit(self, change: Change) -> None:
        with self._changed:
            if self._closed:
                raise InvalidInput("expected a commit before the dumper is closed, got one after")
            if len(change) and not len(self._buffer):
                self._due = self._clock.monotonic() + self._seconds
                self._changed.notify_all()
            self._buffer.add(change)
            full = len(self._buffer) >= self._buffer_size
            error, self._error = (None, self._error) if full else (self._error, None)
        if full:
            self._flush(self._buffer_size)  # unless another thread has done so by now
        elif error is not None:
            raise error

    def flush(self) -> Path | None:
        """Writes what is in the buffer, and returns the packet's directory; None if there is nothing to write.

        Of a packet in a store it is the directory below `incremental_dir`, as s0/inc_20261120070757.

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
            for change in self._buffer.blocks():
                taken.add(change)
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
