"""The reference: what was usual, and how much its own windows differ from each other. One file, which an archive can hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persia.errors import CorruptFile, InvalidInput
from persia.system.durable import write_file

from .comparing import compare
from .distances import SIGMAS
from .window import Key, Window, packed, unpacked

__all__ = ["FEWEST_WINDOWS", "Baseline", "baseline_of_windows", "read_baseline", "write_baseline"]

_KIND = "baseline"
FEWEST_WINDOWS = 5
LEAST_SAMPLES = 500


@dataclass(frozen=True)
class Baseline:
    """limits: of each signal the mean and the deviation of what its windows had, each beside all others."""

    reference: Window
    limits: dict[Key, tuple[float, float]]
    windows: int
    least: int  # samples of a window from which on there are values

    def limit(self, key: Key, floor: float) -> float:
        """What a window may have: three deviations over the mean of the reference's own windows, and no less than the floor."""
        mean, deviation = self.limits.get(key, (0.0, 0.0))
        return max(floor, mean + SIGMAS * deviation)


def baseline_of_windows(windows: Sequence[Window], least: int = LEAST_SAMPLES) -> Baseline:
    """Of windows that are large enough. Raises InvalidInput if fewer than five are."""
    enough = [window for window in windows if window.samples >= least]
    if len(enough) < FEWEST_WINDOWS:
        raise InvalidInput(
            f"expected at least {FEWEST_WINDOWS} windows of {least} samples or more for a baseline, as its limits come from "
            f"how much they differ, got {len(enough)} such windows of {len(windows)}"
        )
    values: dict[Key, list[float]] = {}
    for window, others in zip(enough, _others(enough), strict=True):
        for key, effect in compare(others, window, least).items():
            if effect.value is not None:
                values.setdefault(key, []).append(effect.value)
    return Baseline(Window.merged(enough, large=True), {key: _spread(each) for key, each in values.items()}, len(enough), least)


def read_baseline(path: Path) -> Baseline:
    """Raises CorruptFile, OSError."""
    parts = unpacked(_KIND, path.read_bytes(), str(path))
    try:
        reference, limits, windows, least = parts
        found = {(subject, signal): (mean, deviation) for subject, signal, mean, deviation in limits}
        return Baseline(Window.of_parts(reference), found, windows, least)
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptFile(str(path), "a baseline of this version", str(error), 0) from None


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Raises OSError."""
    limits = [[*key, *spread] for key, spread in baseline.limits.items()]
    write_file(path, packed(_KIND, [baseline.reference.parts(), limits, baseline.windows, baseline.least]))


def _others(windows: Sequence[Window]) -> list[Window]:
    """Of each window all others together, by way of all before and all after it."""
    before, after = [Window(large=True)], [Window(large=True)]
    for window in windows[:-1]:
        before.append(_with(before[-1], window))
    for window in windows[:0:-1]:
        after.append(_with(after[-1], window))
    return [_with(first, last) for first, last in zip(before, reversed(after), strict=True)]


def _with(window: Window, other: Window) -> Window:
    return Window.merged([window, other], large=True)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / max(len(values) - 1, 1))
