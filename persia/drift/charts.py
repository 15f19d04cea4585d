"""Drawings of a report, as SVG within HTML: two distributions side by side, and a line over windows with its limit."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .verdict import Reading, State

__all__ = ["bars", "history"]

_WIDTH, _HEIGHT = 360, 110
_COLOURS = {State.OK: "#2f7d4f", State.WARN: "#c98a00", State.DRIFT: "#b3261e", State.TOO_FEW: "#999"}


def bars(names: Sequence[str], reference: Sequence[float], window: Sequence[float]) -> str:
    """Two bars for each name: the share in the reference, and in the window."""
    most = max([*reference, *window, 1e-9])
    step = _WIDTH / max(len(names), 1)
    drawn = []
    for i, name in enumerate(names):
        for k, (share, kind) in enumerate(((reference[i], "reference"), (window[i], "window"))):
            height = share / most * (_HEIGHT - 10)
            x, y, width = i * step + k * step * 0.42 + step * 0.08, _HEIGHT - height, step * 0.4
            title = f"<title>{escape(name)}: {share:.2%} in the {kind}</title>"
            drawn.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">{title}</rect>'
            )
    return _svg(drawn)


def history(readings: Sequence[Reading]) -> str:
    """A dot for each window that has a value, and the limits as a line."""
    known = [reading.value for reading in readings if reading.value is not None]
    most = max([*known, *(reading.limit for reading in readings), 1e-9])
    step = _WIDTH / max(len(readings), 1)
    drawn, limits = [], []
    for i, reading in enumerate(readings):
        x = (i + 0.5) * step
        limits.append(f"{x:.1f},{_y(reading.limit, most):.1f}")
        if reading.value is None:
            continue
        title = f"<title>{reading.value:.4g}, limit {reading.limit:.4g}: {reading.state.word}</title>"
        colour = _COLOURS[reading.state]
        drawn.append(f'<circle cx="{x:.1f}" cy="{_y(reading.value, most):.1f}" r="3" fill="{colour}">{title}</circle>')
    return _svg([f'<polyline class="limit" points="{" ".join(limits)}"/>', *drawn])


def _y(value: float, most: float) -> float:
    return _HEIGHT - 5 - value / most * (_HEIGHT - 15)


def _svg(drawn: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">{"".join(drawn)}</svg>'
