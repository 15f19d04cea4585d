"""A digest of rows that does not depend on their order: the same for a source and for the checkpoint that was made of it."""

from __future__ import annotations

from persia._core import digest_rows

from .source import F32, U64

__all__ = ["RowDigest"]

_MASK = (1 << 64) - 1


class RowDigest:
    """Two sums of hashes, 64 bits each. A row that is lost, doubled, changed or under another sign changes both."""

    def __init__(self, rows: int = 0, sums: tuple[int, int] = (0, 0)) -> None:
        self.rows = rows
        self.sums = sums

    def add(self, signs: U64, rows: F32) -> None:
        """Takes signs (n) and rows (n, dim)."""
        self.take(*digest_rows(signs, rows))

    def take(self, rows: int, *sums: int) -> None:
        """Takes what was found of other rows."""
        self.rows += rows
        self.sums = ((self.sums[0] + sums[0]) & _MASK, (self.sums[1] + sums[1]) & _MASK)

    def add_digest(self, rows: int, digest: str) -> None:
        """Takes the rows of which another one was made, by its text."""
        self.take(rows, int(digest[:16], 16), int(digest[16:], 16))

    def __str__(self) -> str:
        return "".join(f"{part:016x}" for part in self.sums)
