"""A digest of rows that does not depend on their order: the same for a source and for the checkpoint that was made of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from persia._core import hash_utf8
from persia.signs import farmhash64

from .source import F32, U64

__all__ = ["RowDigest", "hash_rows"]

_MASK = (1 << 64) - 1


def hash_rows(signs: U64, dims: npt.NDArray[np.integer], values: F32) -> U64:
    """(n) -> (n). A hash of each sign with all bytes of its row; `values` has the rows one after the other."""
    ends = np.cumsum(dims, dtype=np.int64) * 4
    hashed = hash_utf8(values.view(np.uint8).data, np.r_[np.int64(0), ends])  # of bytes of any kind, in truth
    return farmhash64(hashed ^ farmhash64(signs))


class RowDigest:
    """Two sums of hashes, 64 bits each. A row that is lost, doubled, changed or under another sign changes both."""

    def __init__(self) -> None:
        self.rows = 0
        self._sums = [0, 0]

    def add(self, hashes: U64) -> None:
        """Takes what hash_rows made of some rows."""
        self.rows += len(hashes)
        for i, terms in enumerate((hashes, farmhash64(hashes))):
            self._sums[i] = (self._sums[i] + int(terms.sum(dtype=np.uint64))) & _MASK

    def add_digest(self, rows: int, digest: str) -> None:
        """Takes the rows of which another one was made, by its text."""
        self.rows += rows
        for i, part in enumerate((digest[:16], digest[16:])):
            self._sums[i] = (self._sums[i] + int(part, 16)) & _MASK

    def __str__(self) -> str:
        return "".join(f"{part:016x}" for part in self._sums)
