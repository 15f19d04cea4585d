"""A window beside the reference: of each signal how far it is off, and how far it may be off by chance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .classifier import domain_auc
from .counts import Labels, MeanVector, Rate
from .distances import (
    cosine_distance,
    edges_of_deciles,
    jensen_shannon,
    psi,
    psi_by_chance,
    rate_by_chance,
)
from .ids import Distinct, Heads
from .numbers import Numbers
from .window import Key, Sketch, Window

__all__ = ["DECILES", "TOP_IDS", "WHOLE_ROWS", "Effect", "compare"]

DECILES = [i / 10 for i in range(1, 10)]
TOP_IDS = 50
WHOLE_ROWS: Key = ("all inputs", "classifier")

# Effects that are no matter, however sure they are: with many samples any difference is.
_LEAST_PSI, _LEAST_RATE, _LEAST_SHIFT, _LEAST_JS, _LEAST_COSINE, _LEAST_AUC = 0.02, 0.01, 0.1, 0.05, 0.01, 0.55
_LEAST_HASHES, _LEAST_ROWS = 100, 100


@dataclass(frozen=True)
class Effect:
    """`value` grows with the distance. `floor`: what is no matter, or may well be chance. None: too few samples for a value."""

    value: float | None
    floor: float
    count: int  # of what the value was taken from, in the window


def compare(reference: Window, window: Window, least: int) -> dict[Key, Effect]:
    """Of each signal of the reference. least: samples (or ids, of what is said of ids) from which on there is a value."""
    effects = _all_effects(reference, window, least)
    if window.samples < least:
        return {key: replace(effect, value=None) for key, effect in effects.items()}
    return effects


def _all_effects(reference: Window, window: Window, least: int) -> dict[Key, Effect]:
    effects: dict[Key, Effect] = {}
    for (subject, signal), known in reference.sketches.items():
        found = window.sketches.get((subject, signal))
        if type(found) is not type(known):
            effects[subject, signal] = Effect(None, 0.0, 0)
            continue
        for name, effect in _effects(signal, known, found, least):
            effects[subject, name] = effect
    if reference.rows.columns and reference.rows.columns == window.rows.columns:
        effects[WHOLE_ROWS] = _classified(reference, window)
    return effects


def _effects(signal: str, known: Sketch, found: Sketch, least: int) -> Iterator[tuple[str, Effect]]:
    if isinstance(known, Rate) and isinstance(found, Rate):
        yield signal, _rate(known, found, least)
    elif isinstance(known, Numbers) and isinstance(found, Numbers):
        yield signal, _distribution(known, found, least)
        if signal in ("values", "scores"):
            yield "not_finite", _rate(_not_finite(known), _not_finite(found), least)
        if signal == "scores":
            yield "mean", _shift(known, found, least)
    elif isinstance(known, Heads) and isinstance(found, Heads):
        ids = known.most(TOP_IDS)
        if len(ids):
            p, q = known.shares(ids), found.shares(ids)
            noise = psi_by_chance(len(p), known.total, found.total)
            value = psi(p, q, known.total, found.total)
            yield signal, _value(value, max(noise, _LEAST_PSI), found.total, least)
    elif isinstance(known, Distinct) and isinstance(found, Distinct):
        new, count = known.new_in(found)
        # What is usual is known from the windows of the reference alone: each of its own ids is in it.
        floor = rate_by_chance(0, count, count) + _LEAST_RATE
        yield signal, _value(new / max(count, 1), floor, count, _LEAST_HASHES)
    elif isinstance(known, Labels) and isinstance(found, Labels):
        names = sorted(known.counts)
        p, q = known.shares(names), found.shares(names)
        # Jensen and Shannon's divergence is an eighth of PSI for small changes; in bits.
        noise = math.sqrt(psi_by_chance(len(p), known.total, found.total) / 8 / math.log(2))
        yield signal, _value(jensen_shannon(p, q), max(noise, _LEAST_JS), found.total, least)
    elif isinstance(known, MeanVector) and isinstance(found, MeanVector) and len(known.sum) == len(found.sum):
        yield signal, _value(cosine_distance(known.sum, found.sum), _LEAST_COSINE, found.count, least)


def _value(value: float, floor: float, count: int, least: int) -> Effect:
    return Effect(value if count >= least else None, floor, count)


def _rate(known: Rate, found: Rate, least: int) -> Effect:
    floor = max(rate_by_chance(known.hits, known.total, found.total), known.share + _LEAST_RATE)
    return _value(found.share, floor, found.total, least)


def _not_finite(numbers: Numbers) -> Rate:
    return Rate(numbers.not_finite, numbers.not_finite + numbers.count)


def _distribution(known: Numbers, found: Numbers, least: int) -> Effect:
    if not known.count:
        return Effect(None, 0.0, found.count)
    edges = edges_of_deciles(known.quantiles(DECILES))
    value = psi(known.shares(edges), found.shares(edges), known.count, found.count)
    floor = max(psi_by_chance(len(edges) + 1, known.count, found.count), _LEAST_PSI)
    return _value(value, floor, found.count, least)


def _shift(known: Numbers, found: Numbers, least: int) -> Effect:
    """Of the mean, in deviations of the reference."""
    apart = abs(found.mean - known.mean)
    value = apart / known.deviation if known.deviation else float(apart > 0)
    noise = 3 * math.sqrt(1 / max(known.count, 1) + 1 / max(found.count, 1))
    return _value(value, max(noise, _LEAST_SHIFT), found.count, least)


def _classified(reference: Window, window: Window) -> Effect:
    rows, others = window.rows.rows, reference.rows.rows
    if len(rows) < _LEAST_ROWS or len(others) < _LEAST_ROWS:
        return Effect(None, 0.0, len(rows))
    noise = 0.5 + 3 * math.sqrt((1 / len(rows) + 1 / len(others)) / 12)
    return Effect(domain_auc(others, rows), max(noise, _LEAST_AUC), len(rows))
