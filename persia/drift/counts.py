"""What is counted exactly: how often something was so, which label was given, and the mean of vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Labels", "MeanVector", "Rate"]

_LABELS = 100


class Rate:
    """Of how many cases how many were so."""

    def __init__(self, hits: int = 0, total: int = 0) -> None:
        self.hits, self.total = hits, total

    def add(self, hits: int, total: int) -> None:
        self.hits += int(hits)
        self.total += int(total)

    def merge(self, other: Rate) -> None:
        self.add(other.hits, other.total)

    @property
    def share(self) -> float:
        return self.hits / self.total if self.total else 0.0

    def parts(self) -> list[Any]:
        return [self.hits, self.total]

    @classmethod
    def of_parts(cls, parts: Sequence[Any]) -> Rate:
        return cls(*parts)


class Labels:
    """How often each label was given. Of more than a hundred, those that come later are counted together, as `(others)`."""

    OTHERS = "(others)"

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self.counts: dict[str, int] = dict(counts or {})

    def add(self, labels: Sequence[str]) -> None:
        self._join(Counter(labels))

    def merge(self, other: Labels) -> None:
        self._join(other.counts)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def shares(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Of these labels, and of all others together."""
        found = [self.counts.get(name, 0) for name in names]
        return np.array([*found, self.total - sum(found)], np.float64) / max(self.total, 1)

    def parts(self) -> list[Any]:
        return [self.counts]

    @classmethod
    def of_parts(cls, parts: Sequence[Any]) -> Labels:
        return cls(parts[0])

    def _join(self, counts: Mapping[str, int]) -> None:
        for name, count in counts.items():
            known = name if name in self.counts or len(self.counts) < _LABELS else self.OTHERS
            self.counts[known] = self.counts.get(known, 0) + count


class MeanVector:
    """The mean of vectors of one width. Vectors of another width than the first ones, or that are not finite, are left out."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: npt.NDArray[np.float64] = np.empty(0)

    def add(self, vectors: npt.NDArray[Any]) -> None:
        """Some of them, (n, width)."""
        finite = vectors[np.isfinite(vectors).all(1)]
        self._join(len(finite), finite.sum(0, dtype=np.float64))

    def merge(self, other: MeanVector) -> None:
        self._join(other.count, other.sum)

    def parts(self) -> list[Any]:
        return [self.count, self.sum.astype("<f8").tobytes()]

    @classmethod
    def of_parts(cls, parts: Sequence[Any]) -> MeanVector:
        made = cls()
        made.count, made.sum = parts[0], np.frombuffer(parts[1], "<f8")
        return made

    def _join(self, count: int, total: npt.NDArray[np.float64]) -> None:
        if count and (not self.count or len(total) == len(self.sum)):
            self.sum = self.sum + total if self.count else total
            self.count += count
