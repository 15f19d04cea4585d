"""Rows on their way into many files: sorted by file, in memory up to a limit and in one temporary file beyond it.

An .emb file says at its start how many rows it has, so none can be begun before all rows have come.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
F32 = npt.NDArray[np.float32]

MEMORY = 256 << 20  # bytes of rows


class Buckets:
    """Keeps rows in the order in which they came to a bucket. Not for use by two threads at a time until all are in."""

    def __init__(self, count: int, spill_to: Path, memory: int) -> None:
        self._kept: list[list[tuple[U64, F32]]] = [[] for _ in range(count)]
        self._spilled: list[list[tuple[int, int, int]]] = [[] for _ in range(count)]  # place in the file, rows, dim
        self._spill_to = spill_to
        self._memory = memory
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._end = 0

    def add(self, buckets: npt.NDArray[np.unsignedinteger], signs: U64, rows: F32) -> None:
        """Takes buckets (n), signs (n), rows (n, dim); copies them."""
        if not len(signs):
            return
        if len(self._kept) <= 1 << 16:
            buckets = buckets.astype(np.uint16)  # which numpy sorts by radix
        order = np.argsort(buckets, kind="stable")
        signs, rows, buckets = signs[order], rows[order], buckets[order]
        starts = np.flatnonzero(np.r_[True, buckets[1:] != buckets[:-1]])
        for start, end in zip(starts, np.r_[starts[1:], len(buckets)], strict=True):
            self._kept[int(buckets[start])].append((signs[start:end], rows[start:end]))
        self._bytes += signs.nbytes + rows.nbytes
        if self._bytes > self._memory:
            self._spill()

    def blocks(self, bucket: int) -> list[tuple[U64, F32]]:
        """The rows of a bucket; what was spilled is mapped, not read, so that it takes no memory that is needed elsewhere."""
        blocks: list[tuple[U64, F32]] = []
        if self._spilled[bucket]:
            assert self._file is not None
            # The file has no name: nobody can shrink it while it is mapped.
            mapped = np.memmap(self._file, np.uint8, "r", shape=(self._end,))
            for place, n, dim in self._spilled[bucket]:
                middle = place + 8 * n
                signs, rows = mapped[place:middle].view(np.uint64), mapped[middle : middle + 4 * n * dim].view(np.float32)
                blocks.append((np.asarray(signs), np.asarray(rows).reshape(n, dim)))
        return blocks + self._kept[bucket]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._spill_to)  # noqa: SIM115 - close() closes it
        for bucket, kept in enumerate(self._kept):
            for signs, rows in _joined(kept):
                self._spilled[bucket].append((self._end, len(signs), rows.shape[1]))
                self._file.write(signs.data)
                self._file.write(rows.data)
                self._end += signs.nbytes + rows.nbytes
                padding = -self._end % 8
                self._file.write(bytes(padding))
                self._end += padding
        self._file.flush()  # only now is it certain that the rows are in the file; on an error they are still in memory
        self._kept = [[] for _ in self._kept]
        self._bytes = 0


def _joined(blocks: list[tuple[U64, F32]]) -> list[tuple[U64, F32]]:
    """Neighbours of one dim as one block."""
    joined: list[tuple[U64, F32]] = []
    start = 0
    for end in range(1, len(blocks) + 1):
        if end == len(blocks) or blocks[end][1].shape[1] != blocks[start][1].shape[1]:
            signs, rows = zip(*blocks[start:end], strict=True)
            joined.append((np.concatenate(signs), np.concatenate(rows)))
            start = end
    return joined
