"""One HTML file of all models that are watched. It needs no network, and no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from .charts import bars, history
from .counts import Labels, Rate
from .ids import Heads
from .numbers import Numbers
from .overview import Watched
from .tables import moment, number
from .verdict import Reading, State
from .window import Key, Sketch

__all__ = ["html_report"]

_CELLS, _TOP = 12, 15
_ENDS = (0.01, 0.99)

_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Drift</title><style>
body { font: 14px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222 }
section { border-top: 1px solid #ccc; padding: .7em 0 } h3 { margin: 0 } .charts { display: flex; flex-wrap: wrap; gap: 2em }
figure { margin: .5em 0 } figcaption { color: #555 } svg { background: #f7f7f7 } .reference { fill: #8aa4c8 }
.window { fill: #e0823d } .limit { fill: none; stroke: #b3261e; stroke-dasharray: 4 3 }
td, th { padding: 0 1em 0 0; text-align: left }
.drift { color: #b3261e } .warn { color: #c98a00 } .ok { color: #2f7d4f } .few { color: #777 }
</style></head><body><h1>Drift</h1>
<p>Bars: <span style="color:#54749f">blue</span> is the reference, <span style="color:#e0823d">orange</span> the last window.
Dots: the value of each window; the dashed line is its limit. Point at a bar or a dot for its numbers.</p>
"""


def html_report(watched: Sequence[Watched]) -> str:
    """All signals of each model: those that drift come first."""
    return _HEAD + "".join(map(_model, watched)) + "</body></html>\n"


def _model(watched: Watched) -> str:
    name = escape(f"{watched.model} {watched.version}")
    parts = [f"<h2>{name}: {_word(watched.state)}</h2>"]
    parts += [f"<p>Not read: {escape(str(problem))}</p>" for problem in watched.problems]
    if watched.windows:
        last = watched.windows[-1]
        parts.append(
            f"<p>{len(watched.windows)} windows. The last one: {moment(last.begin)} to {moment(last.end)}, {last.samples} of "
            f"{last.seen} samples sketched, {last.dropped} batches dropped.</p>"
        )
    if watched.verdict is None:
        return "".join([*parts, "<p>There is no baseline: <code>persia-launcher drift baseline</code> makes one.</p>"])
    by_subject: dict[str, dict[Key, Sequence[Reading]]] = {}
    for key, readings in watched.verdict.history.items():
        by_subject.setdefault(key[0], {})[key] = readings
    severity = {State.DRIFT: 0, State.WARN: 1, State.OK: 2, State.TOO_FEW: 3}
    order = sorted(by_subject, key=lambda each: (min(severity[r[-1].state] for r in by_subject[each].values()), each))
    return "".join([*parts, *(_subject(watched, subject, by_subject[subject]) for subject in order)])


def _subject(watched: Watched, subject: str, signals: dict[Key, Sequence[Reading]]) -> str:
    rows = "".join(
        f"<tr><td>{escape(signal)}</td><td>{number(readings[-1].value)}</td><td>{number(readings[-1].limit)}</td>"
        f"<td>{_word(readings[-1].state)}</td></tr>"
        for (_, signal), readings in signals.items()
    )
    charts = [_distributions(watched, subject)]
    charts += [_figure(f"{signal} over the windows", history(readings)) for (_, signal), readings in signals.items()]
    table = f"<table><tr><th>signal</th><th>value</th><th>limit</th><th></th></tr>{rows}</table>"
    return f"<section><h3>{escape(subject)}</h3>{table}<div class=charts>{''.join(charts)}</div></section>"


def _distributions(watched: Watched, subject: str) -> str:
    """Of each sketch of the subject that is a distribution."""
    assert watched.baseline is not None
    window = watched.windows[-1].sketches if watched.windows else {}
    figures = []
    for key, known in watched.baseline.reference.sketches.items():
        found = window.get(key)
        if key[0] == subject and found is not None:
            drawn = _drawn(known, found)
            if drawn:
                figures.append(_figure(key[1], drawn))
    return "".join(figures)


def _drawn(known: Sketch, found: Sketch) -> str:
    if isinstance(known, Numbers) and isinstance(found, Numbers) and known.count and found.count:
        ends = np.concatenate([known.quantiles(_ENDS), found.quantiles(_ENDS)])  # without the longest tails
        edges = np.linspace(ends.min(), ends.max(), _CELLS - 1)
        edges = np.unique(edges.astype(np.float32)).astype(np.float64)
        names = [f"up to {edge:.4g}" for edge in edges] + ["above"]
        return bars(names, list(known.shares(edges)), list(found.shares(edges)))
    if isinstance(known, Heads) and isinstance(found, Heads):
        ids = np.union1d(known.most(_TOP), found.most(_TOP))
        return bars([*map(str, ids.tolist()), "all others"], list(known.shares(ids)), list(found.shares(ids)))
    if isinstance(known, Labels) and isinstance(found, Labels):
        names = sorted({*known.counts, *found.counts})
        return bars([*names, Labels.OTHERS], list(known.shares(names)), list(found.shares(names)))
    if isinstance(known, Rate) and isinstance(found, Rate):
        return bars(["so", "not so"], [known.share, 1 - known.share], [found.share, 1 - found.share])
    return ""


def _figure(title: str, drawn: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{drawn}</figure>"


def _word(state: State) -> str:
    return f'<span class="{state.word.split()[-1]}">{state.word}</span>'
