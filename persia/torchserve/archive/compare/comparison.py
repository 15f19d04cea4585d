"""Two models on the same samples: how far they agree, how long they take, and how large they are."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from persia.errors import InvalidInput
from persia.torchserve.archive.compare.agreement import Agreement, Answers, agreement_of
from persia.torchserve.archive.compare.models import ComparedModel, open_compared
from persia.torchserve.archive.torch_threads import one_torch_thread

__all__ = ["Comparison", "compare_archives"]

_SHOWN = 5  # samples that the models decide in two ways


@dataclass(frozen=True)
class Side:
    """One of the models. p50_ms: half of its calls took at most this long, on one thread."""

    archive: str
    name: str
    version: str
    p50_ms: float
    archive_bytes: int
    model_bytes: int


@dataclass(frozen=True)
class Difference:
    """A sample that the models decide in two ways."""

    sample: str
    decisions: tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    kind: str
    samples: int
    agreement: Agreement
    sides: tuple[Side, Side]
    differences: Sequence[Difference]

    def as_json(self) -> dict[str, Any]:
        """Numbers and text only."""
        return {
            "kind": self.kind,
            "samples": self.samples,
            **asdict(self.agreement),
            "archives": [asdict(side) for side in self.sides],
            "differences": [asdict(difference) for difference in self.differences],
        }

    def lines(self) -> list[str]:
        """A table for a terminal."""
        one, other = self.sides
        rows = [
            ("", one.archive, other.archive, "ratio"),
            ("p50 of a call", f"{one.p50_ms:.2f} ms", f"{other.p50_ms:.2f} ms", _ratio(one.p50_ms, other.p50_ms)),
            ("archive", *_sizes(one.archive_bytes, other.archive_bytes)),
            ("model", *_sizes(one.model_bytes, other.model_bytes)),
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        found = self.agreement
        table += ["", f"{self.kind}: {found}, in {found.decisions} decisions on {self.samples} samples"]
        table.append(f"scores differ by {found.mean_distance:.4g} on average, and by {found.max_distance:.4g} at most")
        for difference in self.differences:
            mine, theirs = difference.decisions
            table.append(f"  {difference.sample[:60]!r}: {mine} and {theirs}")
        return table


def compare_archives(one: Path, other: Path, samples: Path, seconds: float) -> Comparison:
    """seconds: for which calls are timed. Raises InvalidInput if the models cannot be compared, PersiaError, OSError."""
    models = open_compared(one, samples), open_compared(other, samples)
    _check_alike(*models)
    with one_torch_thread():
        answers = models[0].answers(), models[1].answers()
        found = agreement_of(*answers)
        times = _medians(models[0].calls, models[1].calls, seconds)
    sides = [
        Side(path.name, model.name, model.version, 1000 * median, model.archive_bytes, model.model_bytes)
        for path, model, median in zip((one, other), models, times, strict=True)
    ]
    return Comparison(models[0].kind, models[0].samples, found, (sides[0], sides[1]), _differences(models[0].texts, *answers))


def _check_alike(one: ComparedModel, other: ComparedModel) -> None:
    if one.kind != other.kind:
        raise InvalidInput(f"expected two models of one kind, got {one.name} for {one.kind} and {other.name} for {other.kind}")
    if one.labels != other.labels:
        apart = ", ".join(sorted(one.labels ^ other.labels)[:5])
        raise InvalidInput(f"expected the same labels in both archives, got some that only one of them has: {apart}")


def _medians(one: Sequence[Callable[[], object]], other: Sequence[Callable[[], object]], seconds: float) -> tuple[float, float]:
    """In turns, each twice as the first, so that what else the machine does meets both alike. All samples are asked once."""
    times: tuple[list[float], list[float]] = ([], [])
    end = time.monotonic() + seconds
    round_number = 0
    while round_number == 0 or time.monotonic() < end:
        for pair in zip(one, other, strict=True):
            for side in (0, 1) if round_number % 2 == 0 else (1, 0):
                start = time.perf_counter()
                pair[side]()
                times[side].append(time.perf_counter() - start)
        round_number += 1
    return statistics.median(times[0]), statistics.median(times[1])


def _differences(texts: Sequence[str], one: Answers, other: Answers) -> list[Difference]:
    """Of models with one decision for each text."""
    if len(texts) != len(one.decisions):
        return []
    rows = zip(texts, one.decisions, other.decisions, strict=True)
    return [Difference(text, (str(mine), str(theirs))) for text, mine, theirs in rows if mine != theirs][:_SHOWN]


def _sizes(one: int, other: int) -> tuple[str, str, str]:
    return f"{one / 2**20:.2f} MiB", f"{other / 2**20:.2f} MiB", _ratio(one, other)


def _ratio(one: float, other: float) -> str:
    return f"{one / other:.2f}" if other else "-"
