"""One pass over the rows of a checkpoint and its packets: how many each group has, and the rows of wanted signs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.errors import CorruptFile
from persia.formats.layout import DELETIONS, ENDS
from persia.formats.sign_files import read_sign_file

__all__ = ["Count", "Rows", "Scan", "scan"]

_U64 = npt.NDArray[np.uint64]
_Part = tuple[_U64, npt.NDArray[np.uint32], npt.NDArray[np.float32]]  # signs, their dims, and all numbers


class _Gone(NamedTuple):
    """`signs` (n) that lose their rows: by a deletion, or `by_ends` those among the rows that the file lies beside."""

    signs: npt.NDArray[np.uint64]
    by_ends: bool


def _is_sign_file(path: Path) -> bool:
    """Whether it is a file of deletions or of ends, by its name."""
    return path.suffix in (DELETIONS, ENDS)


def _gone_signs(path: Path, now: float) -> _Gone:
    """What such a file names as deleted, or as ended by `now`. Raises CorruptFile, OSError."""
    file = read_sign_file(path)
    return _Gone(file.signs, False) if file.ends is None else _Gone(file.signs[file.ends <= np.uint64(now)], True)


@dataclass
class Count:
    """Rows of one dim in one group. `largest`: of the signs without their prefix."""

    rows: int = 0
    non_finite: int = 0
    largest: int = 0


@dataclass(frozen=True)
class Rows:
    """Rows by sign: `signs` ascend, and the row of signs[i] is `values[begins[i] : begins[i] + dims[i]]`."""

    signs: _U64
    dims: npt.NDArray[np.uint32]
    begins: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]

    @classmethod
    def of(cls, parts: Sequence[_Part]) -> Rows:
        """Of several rows of one sign the last one counts; if that has no numbers, the sign has no row."""
        signs = np.concatenate([np.zeros(0, np.uint64), *(part[0] for part in parts)])
        dims = np.concatenate([np.zeros(0, np.uint32), *(part[1] for part in parts)])
        values = np.concatenate([np.zeros(0, np.float32), *(part[2] for part in parts)])
        begins = np.cumsum(dims, dtype=np.int64) - dims
        kept, reversed_at = np.unique(signs[::-1], return_index=True)
        at = len(signs) - 1 - reversed_at
        there = dims[at] > 0
        kept, at = kept[there], at[there]
        return cls(kept, dims[at], begins[at], values)

    def have(self, signs: _U64) -> npt.NDArray[np.bool_]:
        """Which of the signs have a row: of the same shape."""
        found: npt.NDArray[np.bool_] = np.isin(signs, self.signs)
        return found

    def of_dim(self, dim: int) -> tuple[_U64, npt.NDArray[np.float32]]:
        """Signs (n), and their rows (n, dim)."""
        at = self.dims == dim
        return self.signs[at], self.values[self.begins[at][:, None] + np.arange(dim)]


@dataclass
class Scan:
    """`counts` has (group, dim): group 0 is no prefix, the one after the last any larger one. `rows` of `total` were read.

    `fair` of them are in files that were read to their end. In a file that was begun only, rows of some features may all stand
    behind those that were read. `gone`: how many signs lose their rows by packets or by their ends; `counts` have these rows.
    """

    groups: int
    rows: int = 0
    total: int = 0
    fair: int = 0
    gone: int = 0
    whole: bool = True
    counts: dict[tuple[int, int], Count] = field(default_factory=dict)
    found: Rows = field(default_factory=lambda: Rows.of([]))
    strays: list[int] = field(default_factory=list)  # some signs that are in no group
    problems: list[str] = field(default_factory=list)
    packets: int = 0  # how many were read, beside the checkpoint
    packet_total: int = 0  # rows that their files say to have
    packet_counts: dict[tuple[int, int], Count] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether the numbers of rows are those that servers will have."""
        return self.whole and not self.gone

    @property
    def share(self) -> float:
        """The share of all rows, those of packets too, that is a fair sample of them."""
        return 1.0 if self.whole else self.fair / max(self.total + self.packet_total, 1)

    def about(self, rows: int) -> str:
        """A number of rows seen, as one of all: exact if all was read and no row is gone."""
        if self.whole:
            return f"about {rows:,}" if self.gone else f"{rows:,}"
        return f"about {round(rows * self.total / max(self.rows, 1)):,}"


def scan(
    files: Sequence[Path],
    packets: Sequence[Sequence[Path]],
    prefix_bits: int,
    groups: int,
    wanted: _U64,
    seconds: float,
    workers: int,
    at_hand: Callable[[Path], AbstractContextManager[Path]] = nullcontext,
) -> Scan:
    """Reads files of a checkpoint, then the files of each packet, the oldest first, for as long as there is time.

    Files of rows come with those of deletions and ends, which speak of what was read before them. A row lies in the file that a
    hash of its sign leads to. So the files that were read when the time is over are a fair sample.

    at_hand: as a Checkpoint has it.
    """
    result = Scan(groups)
    end = time.monotonic() + seconds
    now = time.time()

    def read(path: Path, packet: bool) -> Any:
        left = end - time.monotonic()
        try:
            if _is_sign_file(path):
                return 0, _gone_signs(path, now) if left > 0 else None
            total = (_core.IncReader if packet else _core.EmbReader)(path).rows
            if left <= 0:
                return total, (0, False, [], *_NOTHING)
            with nullcontext(path) if packet else at_hand(path) as here:
                left = end - time.monotonic()
                return total, _core.scan_rows(
                    here, packet=packet, prefix_bits=prefix_bits, groups=groups, wanted=wanted, seconds=max(left, 0.001)
                )
        except (CorruptFile, OSError) as error:
            return 0, str(error)

    parts: list[_Part] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="scan") as pool:
        for path, (total, answer) in zip(files, pool.map(lambda path: read(path, False), files), strict=True):
            result.total += total
            if _is_sign_file(path):
                _take_out(result, answer, wanted, parts, 0)
            else:
                _add(result, result.counts, answer, parts)
        in_order = [path for packet in packets for path in packet]
        answers = pool.map(lambda path: read(path, True), in_order)
        for packet in packets:
            begin = len(parts)
            for path, (total, answer) in zip(packet, answers, strict=False):
                result.packet_total += total
                if _is_sign_file(path):
                    _take_out(result, answer, wanted, parts, begin)
                else:
                    _add(result, result.packet_counts, answer, parts, packet=True)
    result.packets = len(packets)
    result.found = Rows.of(parts)
    return result


_NOTHING = (np.zeros(0, np.uint64), np.zeros(0, np.uint32), np.zeros(0, np.float32), np.zeros(0, np.uint64))


def _take_out(result: Scan, answer: _Gone | str | None, wanted: _U64, parts: list[_Part], begin: int) -> None:
    """What a file of deletions or ends says: None was not read, a text is why it cannot be.

    Ends speak of the rows in parts[begin:], those of the same packet.
    """
    if answer is None or isinstance(answer, str):
        result.whole &= answer is not None
        result.problems += [answer] if answer is not None else []
        return
    result.gone += len(answer.signs)
    signs = answer.signs[np.isin(answer.signs, wanted)]
    if answer.by_ends:
        signs = signs[np.isin(signs, np.concatenate([np.zeros(0, np.uint64), *(part[0] for part in parts[begin:])]))]
    parts.append((signs, np.zeros(len(signs), np.uint32), np.zeros(0, np.float32)))


def _add(result: Scan, counts: dict[tuple[int, int], Count], answer: Any, parts: list[_Part], packet: bool = False) -> None:
    """What one file has, to what the others had."""
    if isinstance(answer, str):
        result.problems.append(answer)
        return
    rows, whole, groups, signs, dims, values, strays = answer
    if not packet:
        result.rows += rows
    if whole:
        result.fair += rows
    result.whole &= whole
    for group, dim, count, non_finite, largest in groups:
        entry = counts.setdefault((group, dim), Count())
        entry.rows += count
        entry.non_finite += non_finite
        entry.largest = max(entry.largest, largest)
    if len(signs):
        parts.append((signs, dims, values))
    if not packet:
        result.strays += strays.tolist()


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))
