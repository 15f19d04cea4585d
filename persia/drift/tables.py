"""What `persia-launcher drift status` prints: a table, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime as DateTime
from typing import Any

from .overview import Watched
from .scoring import Quality
from .verdict import Reading, State
from .window import Key

__all__ = ["as_json_value", "moment", "number", "quality_table", "table"]

_HEADER = ("what", "signal", "value", "limit", "state", "windows")
_ORDER = (State.DRIFT, State.WARN, State.TOO_FEW, State.OK)


def table(watched: Watched, everything: bool = False) -> str:
    """everything: also the signals that are as usual."""
    lines = [_headline(watched), *(f"  not read: {problem}" for problem in watched.problems)]
    verdict = watched.verdict
    if verdict is None or not verdict.history:
        return "\n".join(lines)
    last = sorted(
        ((key, readings[-1], _row(readings)) for key, readings in verdict.history.items()),
        key=lambda each: (_ORDER.index(each[1].state), each[0]),
    )
    shown = [each for each in last if everything or each[1].state in (State.DRIFT, State.WARN)]
    if shown:
        lines += _columns([_HEADER, *(_cells(*each) for each in shown)])
    if not everything:
        counts = {state: sum(reading.state is state for _, reading, _ in last) for state in (State.OK, State.TOO_FEW)}
        lines.append(
            f"  {counts[State.OK]} signals are as usual, {counts[State.TOO_FEW]} have too few samples (--all shows them)"
        )
    return "\n".join(lines)


def as_json_value(watched: Watched) -> dict[str, Any]:
    """For json.dumps."""
    last = watched.windows[-1] if watched.windows else None
    history = watched.verdict.history if watched.verdict is not None else {}
    return {
        "model": watched.model,
        "version": watched.version,
        "state": watched.state.word if watched.baseline is not None else "no baseline",
        "windows": len(watched.windows),
        "last_window": last
        and {"begin": last.begin, "end": last.end, "samples": last.samples, "seen": last.seen, "dropped": last.dropped},
        "signals": [
            {
                "what": subject,
                "signal": signal,
                "state": readings[-1].state.word,
                "value": readings[-1].value,
                "limit": readings[-1].limit,
                "count": readings[-1].count,
                "windows_in_a_row": _row(readings),
            }
            for (subject, signal), readings in sorted(history.items())
        ],
        "problems": [str(problem) for problem in watched.problems],
    }


def quality_table(found: Sequence[Quality]) -> str:
    """For `persia-launcher drift score`."""
    head = ("version", "samples", "count", "accuracy", "expected", "AUC", "calibration error")
    rows = [
        (
            each.version,
            each.why,
            str(each.count),
            *map(number, (each.accuracy, each.expected, each.auc, each.calibration_error)),
        )
        for each in found
    ]
    lines = [line[2:] for line in _columns([head, *rows])]
    for each in found:
        if each.bins:
            lines += ["", f"{each.version}, {each.why}: mean score of a tenth, and what share was so"]
            lines += [f"  {bin.score:.3f}  {bin.share:.3f}  of {bin.count}" for bin in each.bins]
    return "\n".join(lines)


def moment(seconds: float) -> str:
    """A time since 1970 as this machine's clock shows it."""
    return DateTime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def number(value: float | None) -> str:
    """Three digits, or a dash for what is not known."""
    return "-" if value is None else f"{value:.3g}"


def _headline(watched: Watched) -> str:
    name = f"{watched.model} {watched.version}"
    if not watched.windows:
        return f"{name}: no windows yet"
    last = watched.windows[-1]
    sketched = f"{last.samples} of {last.seen} samples sketched"
    window = f"{len(watched.windows)} windows, the last one until {moment(last.end)} with {sketched}"
    dropped = f", {last.dropped} batches dropped" if last.dropped else ""
    if watched.baseline is None:
        return f"{name}: no baseline ({window}{dropped}): `persia-launcher drift baseline` makes one"
    return f"{name}: {watched.state.word} ({window}{dropped})"


def _row(readings: Sequence[Reading]) -> int:
    """How many windows in a row, up to the last one, it was beyond its limit."""
    count = 0
    for reading in reversed(readings):
        if reading.state is State.OK:
            break
        count += reading.state is not State.TOO_FEW
    return count


def _cells(key: Key, reading: Reading, row: int) -> tuple[str, ...]:
    return (*key, number(reading.value), number(reading.limit), reading.state.word, str(row))


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
