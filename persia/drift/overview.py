"""All models of a state directory, each with what is to be said of it: what status, report and metrics show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persia.errors import CorruptFile, NotFound

from .baseline import Baseline, read_baseline
from .state import StateDirectory, models_of, windows_of
from .verdict import IN_A_ROW, State, Verdict, judge
from .window import Window

__all__ = ["Asked", "Watched", "overview"]


@dataclass(frozen=True)
class Asked:
    """Which models, and how their windows are read. baseline: a file instead of those beside the windows."""

    state: Path
    model: str | None = None
    version: str | None = None
    baseline: Path | None = None
    windows: int = 50  # the last ones
    in_a_row: int = IN_A_ROW


@dataclass(frozen=True)
class Watched:
    """One version of a model. Without a baseline there is no verdict."""

    model: str
    version: str
    windows: Sequence[Window]
    baseline: Baseline | None
    verdict: Verdict | None
    problems: Sequence[CorruptFile]  # files that could not be read

    @property
    def state(self) -> State:
        return self.verdict.state if self.verdict is not None else State.TOO_FEW


def overview(asked: Asked) -> list[Watched]:
    """Raises NotFound if there is no such model; CorruptFile for a given baseline that is broken; OSError."""
    given = read_baseline(asked.baseline) if asked.baseline is not None else None
    found = [
        _watched(directory, asked, given)
        for directory in models_of(asked.state)
        if asked.model in (None, directory.model) and asked.version in (None, directory.version)
    ]
    if not found:
        wanted = " ".join(part for part in (asked.model, asked.version) if part) or "any model"
        there = ", ".join(f"{each.model} {each.version}" for each in models_of(asked.state)) or "none"
        raise NotFound(f"expected windows of {wanted} in {asked.state}, got those of {there}")
    return found


def _watched(directory: StateDirectory, asked: Asked, given: Baseline | None) -> Watched:
    read = directory.read()
    problems = list(read.problems)
    windows = windows_of(read.pieces)[-asked.windows :]
    baseline = given
    if baseline is None:
        try:
            baseline = directory.baseline()
        except CorruptFile as error:
            problems.append(error)
    verdict = judge(baseline, windows, asked.in_a_row) if baseline is not None else None
    return Watched(directory.model, directory.version, windows, baseline, verdict, problems)
