"""What is said of a model's windows: each signal beside its limit, and whether it was beyond it for some windows in a row."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .baseline import Baseline
from .comparing import compare
from .window import Key, Window

__all__ = ["IN_A_ROW", "Reading", "State", "Verdict", "judge"]

IN_A_ROW = 3


class State(enum.IntEnum):
    OK = 0
    WARN = 1  # beyond its limit, but not for long enough
    DRIFT = 2
    TOO_FEW = 3

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Reading:
    """Of one signal in one window. `value`: None if there were too few samples for one."""

    value: float | None
    limit: float
    state: State
    count: int


@dataclass(frozen=True)
class Verdict:
    """history: of each signal its readings, one for each window."""

    windows: Sequence[Window]
    history: Mapping[Key, Sequence[Reading]]

    @property
    def state(self) -> State:
        """Of the last window, the worst; too few only if that is all there is to say."""
        last = [readings[-1].state for readings in self.history.values() if readings]
        known = [state for state in last if state is not State.TOO_FEW]
        return max(known, default=State.TOO_FEW)

    @property
    def drifted(self) -> list[Key]:
        return [key for key, readings in self.history.items() if readings and readings[-1].state is State.DRIFT]


def judge(baseline: Baseline, windows: Sequence[Window], in_a_row: int = IN_A_ROW) -> Verdict:
    """All windows, the oldest first. in_a_row: how many windows a signal must be beyond its limit for before it is drift.

    A window that has too few samples for a signal neither counts among them, nor ends the row.
    """
    history: dict[Key, list[Reading]] = {}
    rows: dict[Key, int] = {}
    for window in windows:
        for key, effect in compare(baseline.reference, window, baseline.least).items():
            limit = baseline.limit(key, effect.floor)
            state = State.TOO_FEW
            if effect.value is not None:
                rows[key] = rows.get(key, 0) + 1 if effect.value > limit else 0
                state = State.OK if not rows[key] else State.WARN if rows[key] < in_a_row else State.DRIFT
            history.setdefault(key, []).append(Reading(effect.value, limit, state, effect.count))
    return Verdict(windows, history)
